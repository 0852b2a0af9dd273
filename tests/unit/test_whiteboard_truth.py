from __future__ import annotations

from msgspec import Struct

from services.whiteboard.record import Record
from services.whiteboard.truth import Fork, Gap, Known, Renewed, judge

TIME = "2026-01-02T00:00:00.000000000Z"
LAST = Record(10, TIME, "missions.status.default.m", b'{"event_id":"m.1.1"}', b"")
THE_SAME = (LAST.data, TIME)


class State(Struct):
    first_seq: int
    last_seq: int
    created: str = "2026-01-01T00:00:00.5Z"


def test_a_stream_that_has_our_last_record_is_ours() -> None:
    assert judge(Known(10, LAST), State(1, 10), THE_SAME) is None
    assert judge(Known(10, LAST), State(1, 15), THE_SAME) is None
    assert judge(Known(0, None), State(1, 0), None) is None
    assert judge(Known(0, None), State(1, 7), None) is None


def test_a_stream_that_ends_before_the_journal_is_a_fork() -> None:
    verdict = judge(Known(10, LAST), State(1, 9), None)
    assert isinstance(verdict, Fork)
    assert "ends at 9, the journal at 10" in verdict.reason


def test_another_record_at_our_sequence_is_a_fork() -> None:
    assert isinstance(judge(Known(10, LAST), State(1, 12), (b'{"event_id":"m.1.2"}', TIME)), Fork)
    nameless = Record(10, TIME, LAST.subject, b"{}", b"")
    assert isinstance(judge(Known(10, nameless), State(1, 12), (b"{}", "2026-01-02T00:00:00.000000001Z")), Fork)
    assert judge(Known(10, nameless), State(1, 12), (b"{}", TIME)) is None


def test_a_stream_made_after_our_last_record_that_reuses_sequences_is_a_fork() -> None:
    assert isinstance(judge(Known(10, LAST), State(5, 20, "2026-02-01T00:00:00Z"), None), Fork)


def test_a_stream_made_anew_above_our_last_record_is_never_taken_for_ours_in_silence() -> None:
    created = "2026-02-01T00:00:00Z"
    assert judge(Known(10, LAST), State(11, 20, created), None) == Renewed(created, 11, 10)
    assert judge(Known(10, LAST), State(15, 20, created), None) == Renewed(created, 11, 14)
    assert judge(Known(14, LAST, created=created), State(15, 20, created), None) is None
    assert judge(Known(14, LAST, created=created), State(15, 20, "2026-03-01T00:00:00Z"), None) is not None


def test_what_retention_took_is_a_gap() -> None:
    assert judge(Known(10, LAST), State(15, 20), None) == Gap(11, 14)
    assert judge(Known(0, None), State(5, 9), None) == Gap(1, 4)
    assert judge(Known(10, LAST), State(21, 20), None) == Gap(11, 20)
    assert judge(Known(10, LAST), State(11, 20), None) is None


def test_the_same_event_at_another_time_is_a_fork() -> None:
    assert isinstance(judge(Known(10, LAST), State(1, 12), (LAST.data, "2026-01-02T00:00:00.000000001Z")), Fork)


def test_after_a_fork_only_our_last_record_shows_that_the_stream_is_ours() -> None:
    assert isinstance(judge(Known(10, LAST, forked=True), State(11, 20), None), Fork)
    assert isinstance(judge(Known(10, None, forked=True), State(1, 20), None), Fork)
    assert judge(Known(10, LAST, forked=True), State(1, 12), THE_SAME) is None
