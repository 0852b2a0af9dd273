"""The checkers of histories go red for what they are there to find."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from contracts import codec, ids, subjects
from contracts.lifecycle import Status
from contracts.messages import Goal, Mission, Reply, now, status_record
from missions.testing import history
from services.runtime.incoming import Stored, rfc3339
from services.whiteboard.record import GENESIS, Note, chain_hash, encode_line

EVENT = ("ops", "evt-1")
MISSION = ids.mission_id(*EVENT)
Message = tuple[str, bytes]


def proposal(mission_id: str = MISSION, causation_id: str = "evt-1", queue: str = "default") -> Message:
    mission = Mission(
        mission_id=mission_id,
        goals=(Goal(id="g1", kind="echo"),),
        event_id=f"{mission_id}.0.1",
        at=now(),
        conversation="ops",
        causation_id=causation_id,
        queue=queue,
    )
    return subjects.proposed(queue, mission_id), codec.encode(mission)


def change(status: Status, number: int, attempt: int = 1, actor: str = "executor/a", **fields: Any) -> Message:
    record = status_record(
        event_id=ids.record_id(MISSION, attempt, number),
        mission_id=MISSION,
        status=status,
        actor=actor,
        attempt=attempt,
        reason="ok",
        **fields,
    )
    return subjects.status("default", MISSION), codec.encode(record)


def reply(kind: Any) -> Message:
    said = Reply(mission_id=MISSION, kind=kind, text="x", at=now(), in_reply_to="evt-1")
    return subjects.reply("ops", MISSION, kind), codec.encode(said)


def stream(*messages: Message) -> list[Stored]:
    return [Stored(subject, seq, seq, data, {}) for seq, (subject, data) in enumerate(messages, 1)]


ACTIVE = change(Status.ACTIVE, 1)
COMPLETED = change(Status.COMPLETED, 2)
WHOLE = (proposal(), ACTIVE, COMPLETED)
TAKEN_OVER = (
    proposal(),
    ACTIVE,
    change(Status.ACTIVE, 1, 2, "executor/b"),
    change(Status.COMPLETED, 2, 2, "executor/b"),
)


def test_a_whole_history_passes_every_check() -> None:
    for records in (stream(*WHOLE), stream(*TAKEN_OVER)):
        history.assert_legal_history(records)
        history.assert_one_outcome(records)
        history.assert_one_mission_per_event([EVENT], records)
        history.assert_one_reply_of_each_kind(stream(reply("accepted"), reply("result")), records)


@pytest.mark.parametrize(
    "messages",
    [
        [ACTIVE],
        [*WHOLE, change(Status.ACTIVE, 3)],
        [*WHOLE, proposal()],
        [proposal(), change(Status.WAITING, 1)],
        [proposal(), ACTIVE, change(Status.ACTIVE, 1)],
        [proposal(), ACTIVE, change(Status.ACTIVE, 2, actor="executor/b")],
        [proposal(), ACTIVE, change(Status.ACTIVE, 1, attempt=3)],
        [proposal(), ACTIVE, change(Status.FAILED, 2, attempt=2)],
        [*TAKEN_OVER[:3], change(Status.COMPLETED, 2)],
    ],
    ids=[
        "not proposed",
        "after the end",
        "proposed after the end",
        "not in the table",
        "event id twice",
        "two owners",
        "attempt left out",
        "attempt without a claim",
        "written by a former owner",
    ],
)
def test_an_illegal_history_is_found(messages: list[Message]) -> None:
    with pytest.raises(AssertionError, match=MISSION):
        history.assert_legal_history(stream(*messages))


@pytest.mark.parametrize(
    "messages", [WHOLE[:2], [*WHOLE, change(Status.FAILED, 3)], [*WHOLE, change(Status.ACTIVE, 3)]]
)
def test_no_outcome_a_second_one_or_a_record_behind_it_is_found(messages: list[Message]) -> None:
    with pytest.raises(AssertionError, match="outcome"):
        history.assert_one_outcome(stream(*messages))


@pytest.mark.parametrize(
    ("events", "messages"),
    [
        ([EVENT, ("ops", "evt-2")], WHOLE),
        ([], WHOLE),
        ([EVENT], [*WHOLE[:1], proposal(queue="other")]),
        ([EVENT], [proposal(causation_id="evt-9")]),
    ],
    ids=["lost", "invented", "twice", "of another event"],
)
def test_a_lost_an_invented_or_a_second_mission_is_found(
    events: list[tuple[str, str]], messages: Iterable[Message]
) -> None:
    with pytest.raises(AssertionError):
        history.assert_one_mission_per_event(events, stream(*messages))


@pytest.mark.parametrize(
    "replies",
    [
        ["accepted"],
        ["result"],
        ["accepted", "error"],
        ["accepted", "result", "result"],
        ["accepted", "result", "error"],
    ],
)
def test_a_reply_too_few_too_many_or_of_the_wrong_kind_is_found(replies: list[str]) -> None:
    with pytest.raises(AssertionError, match="expected"):
        history.assert_one_reply_of_each_kind(stream(*(reply(kind) for kind in replies)), stream(*WHOLE))


def write_journal(folder: Path, records: Iterable[Stored]) -> None:
    prev, lines = GENESIS, []
    for stored in records:
        line = encode_line(Note(stored.seq, rfc3339(stored.time_ns), stored.subject, stored.data), prev)
        prev = chain_hash(line)
        lines.append(line + b"\n")
    (folder / "missions.1-1.jsonl").write_bytes(b"".join(lines[:1]))
    (folder / "missions.jsonl").write_bytes(b"".join(lines[1:]))


def test_a_journal_that_is_the_stream_passes_over_all_its_files(tmp_path: Path) -> None:
    write_journal(tmp_path, stream(*WHOLE))
    history.assert_journal_equals_stream(tmp_path, stream(*WHOLE))


@pytest.mark.parametrize("kept", [[0, 1], [0, 2], [0, 1, 1, 2], [0, 2, 1], [0, 1, 2, 2]])
def test_a_hole_a_repeat_or_another_order_in_the_journal_is_found(tmp_path: Path, kept: list[int]) -> None:
    records = stream(*WHOLE)
    write_journal(tmp_path, [records[number] for number in kept])
    with pytest.raises(AssertionError, match="the stream"):
        history.assert_journal_equals_stream(tmp_path, records)


def test_one_byte_that_differs_in_the_journal_is_found(tmp_path: Path) -> None:
    records = stream(*WHOLE)
    subject, data = WHOLE[2]
    write_journal(tmp_path, stream(*WHOLE[:2], (subject, data.replace(b'"ok"', b'"oK"'))))
    with pytest.raises(AssertionError, match="the stream"):
        history.assert_journal_equals_stream(tmp_path, records)


def test_a_view_that_differs_from_its_records_or_is_missing_is_found() -> None:
    records = stream(*WHOLE)
    view = {"mission_id": MISSION} | history.folded(history.histories(records)[MISSION])
    history.assert_views_agree([view], records)
    for views in ([], [view | {"status": "active"}], [view | {"seq": 2}]):
        with pytest.raises(AssertionError):
            history.assert_views_agree(views, records)
