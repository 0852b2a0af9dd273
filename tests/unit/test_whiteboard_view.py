from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from contracts.errors import DecodeError, IllegalTransition
from contracts.lifecycle import TERMINAL, TRANSITIONS, Core, Status
from contracts.messages import Answer, Failure, Goal, GoalStatus, Question
from services.whiteboard.record import Note, Record
from services.whiteboard.said import read_change
from services.whiteboard.view import View, apply, fold
from tests.support.recording import change, proposal, stream, whole


def record(note: Note) -> Record:
    return Record(note.seq, note.time, note.subject, note.data, b"")


def folded(*messages: tuple[str, bytes]) -> View:
    view = fold(record(note) for note in stream(messages))
    assert view is not None
    return view


def shown(view: View) -> Any:
    return json.loads(msgspec.json.encode(view))


def test_a_proposal_is_a_mission() -> None:
    view = folded(proposal(1, title="say hi", queue="gpu", conversation="ops", requested_by="ann"))
    assert (view.status, view.core, view.title) == (Status.PROPOSED, Core.PROPOSED, "say hi")
    assert (view.queue, view.conversation, view.requested_by) == ("gpu", "ops", "ann")
    assert (view.first_seq, view.seq, view.proposed_at) == (1, 1, "2026-01-01T00:00:01.000000000Z")
    assert (
        shown(view)["goals"][0] | {"id": "g1", "kind": "echo", "status": "proposed", "params": {"text": "hi"}}
        == shown(view)["goals"][0]
    )


def test_a_mission_of_one_goal_that_succeeds_is_three_records() -> None:
    view = folded(*whole())
    assert (view.status, view.core, view.attempt, view.seq) == (Status.COMPLETED, Core.COMPLETED, 1, 3)
    assert (view.started_at, view.finished_at) == ("2026-01-01T00:00:02.000000000Z", "2026-01-01T00:00:03.000000000Z")
    assert shown(view)["result"] == {"text": "hi"}
    goal = shown(view)["goals"][0]
    assert (goal["status"], goal["result"], goal["attempt"]) == ("completed", {"text": "hi"}, 1)


def test_each_goal_shows_what_was_said_about_it() -> None:
    goals = (
        Goal(id="a", kind="echo"),
        Goal(id="b", kind="fail", needs=("a",)),
        Goal(id="c", kind="echo", needs=("b",)),
    )
    done = GoalStatus(id="a", kind="echo", status="completed", result=[1, 2])
    lost = GoalStatus(id="b", kind="fail", status="failed", attempt=3, error=Failure(type="Boom", message="no"))
    view = folded(
        proposal(1, *goals),
        change(1, Status.ACTIVE),
        change(1, Status.ACTIVE, goal=done),
        change(1, Status.FAILED, goal=lost, reason="retries_exhausted", error=Failure(type="Boom", message="no")),
    )
    a, b, c = shown(view)["goals"]
    assert (a["status"], a["result"]) == ("completed", [1, 2])
    assert (b["status"], b["attempt"], b["error"]) == ("failed", 3, {"type": "Boom", "message": "no"})
    assert (c["status"], c["started_at"]) == ("skipped", None)
    assert (view.reason, view.core) == ("retries_exhausted", Core.FAILED)


def test_a_mission_that_nobody_started_has_no_start() -> None:
    view = folded(proposal(1), change(1, Status.REJECTED, attempt=0, reason="unknown_kind"))
    assert view.started_at is None
    assert view.finished_at is not None
    assert view.goals[0].status == "skipped"


def test_a_later_attempt_keeps_the_first_start() -> None:
    view = folded(proposal(1), change(1, Status.ACTIVE), change(1, Status.ACTIVE, attempt=2, phase="recovering"))
    assert (view.attempt, view.phase, view.started_at) == (2, "recovering", "2026-01-01T00:00:02.000000000Z")


def test_a_work_item_that_is_published_again_changes_no_status() -> None:
    view = folded(proposal(1), change(1, Status.ACTIVE), change(1, Status.WAITING), proposal(1))
    assert (view.status, view.first_seq, view.seq) == (Status.WAITING, 1, 4)


@pytest.mark.parametrize("current", list(Status))
@pytest.mark.parametrize("following", [status for status in Status if status is not Status.PROPOSED])
def test_exactly_the_transitions_of_the_table_change_the_view(current: Status, following: Status) -> None:
    path = {
        Status.PROPOSED: [],
        Status.WAITING: [Status.ACTIVE, Status.WAITING],
        Status.COMPLETED: [Status.ACTIVE, Status.COMPLETED],
    }.get(current, [current])
    before = folded(proposal(1), *(change(1, status) for status in path))
    assert before.status is current
    last = record(stream([change(1, following)], first=9)[0])
    if following in TRANSITIONS[current]:
        assert apply(before, last).status is following
        assert apply(before, last).seq == 9
    else:
        with pytest.raises(IllegalTransition):
            apply(before, last)


def test_nothing_follows_on_an_outcome() -> None:
    assert all(not TRANSITIONS[status] for status in TERMINAL)
    view = folded(*whole(), change(1, Status.FAILED, reason="late"), proposal(1))
    assert (view.status, view.seq) == (Status.COMPLETED, 3)


def test_a_status_before_the_proposal_changes_nothing() -> None:
    assert fold(record(note) for note in stream([change(1, Status.ACTIVE)])) is None


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"mission_id":"x","status":"odd"}', b"[" * 9_000])
def test_what_cannot_be_understood_is_a_decode_error_and_changes_nothing(data: bytes) -> None:
    subject, _ = change(1, Status.ACTIVE)
    with pytest.raises(DecodeError):
        apply(None, record(stream([(subject, data)])[0]))
    assert folded(proposal(1), (subject, data)).seq == 1


def test_a_record_that_speaks_of_another_mission_than_its_subject_is_not_believed() -> None:
    subject, _ = change(1, Status.ACTIVE)
    _, data = change(2, Status.ACTIVE)
    assert folded(proposal(1), (subject, data)).status is Status.PROPOSED


def test_unknown_fields_phases_and_reasons_are_tolerated() -> None:
    subject, data = change(1, Status.ACTIVE)
    strange = json.dumps(json.loads(data) | {"phase": "dancing", "schema": 9, "new": {"field": 1}}).encode()
    assert folded(proposal(1), (subject, strange)).phase == "dancing"


def test_numbers_in_results_keep_their_digits() -> None:
    subject, data = change(1, Status.COMPLETED)
    exact = data[:-1] + b',"result":{"n":1.10,"big":123456789012345678901234567890}}'
    view = folded(proposal(1), change(1, Status.ACTIVE), (subject, exact))
    assert bytes(view.result) == b'{"n":1.10,"big":123456789012345678901234567890}'


def test_a_record_nested_too_deep_is_not_read() -> None:
    subject, data = change(1, Status.ACTIVE)
    deep = data[:-1] + b',"more":' + b"[" * 100 + b"]" * 100 + b"}"
    with pytest.raises(DecodeError, match="nested deeper"):
        read_change(Record(1, "2026-01-01T00:00:00Z", subject, deep, b""))


QUESTION = Question(key="Well?", text="Well?", schema={"type": "boolean"})


def asked_and_answered() -> list[tuple[str, bytes]]:
    """Return the records of a mission that waits twice, and of its work items that are published again."""

    def goal(**fields: Any) -> GoalStatus:
        return GoalStatus(id="g1", kind="echo", **fields)

    yes, late = Answer(key="Well?", value="yes", by="ann"), Answer(key="Well?", expired=True)
    return [
        proposal(1),
        change(1, Status.ACTIVE),
        change(1, Status.WAITING, phase="asking", goal=goal(status="waiting", question=QUESTION)),
        change(1, Status.WAITING, phase="answered", goal=goal(status="answered", answer=yes)),
        proposal(1, after="m.answer.x"),
        change(1, Status.ACTIVE, phase="resumed", attempt=2),
        change(1, Status.WAITING, phase="asking", attempt=2, goal=goal(status="waiting", attempt=2, question=QUESTION)),
        change(1, Status.WAITING, phase="answered", attempt=2, goal=goal(status="answered", attempt=2, answer=late)),
        proposal(1, after="m.expire.x"),
        change(1, Status.ACTIVE, phase="resumed", attempt=3),
        change(1, Status.COMPLETED, attempt=3, result="done"),
    ]


def test_a_question_is_open_from_its_record_to_its_answer_at_every_prefix() -> None:
    records = [record(note) for note in stream(asked_and_answered())]
    seen = []
    for length in range(1, len(records) + 1):
        view = fold(records[:length])
        assert view is not None
        assert view.seq == length
        goal = shown(view)["goals"][0]
        seen.append((view.status.value, bool(goal["question"]), (goal["answer"] or {}).get("value")))
    assert seen == [
        ("proposed", False, None),
        ("active", False, None),
        ("waiting", True, None),
        ("waiting", False, "yes"),
        ("waiting", False, "yes"),
        ("active", False, "yes"),
        ("waiting", True, "yes"),
        ("waiting", False, None),
        ("waiting", False, None),
        ("active", False, None),
        ("completed", False, None),
    ]


def test_a_mission_that_is_over_asks_nothing() -> None:
    goals = (Goal(id="a", kind="echo"), Goal(id="b", kind="echo"))
    asks = GoalStatus(id="a", kind="echo", status="waiting", question=QUESTION)
    view = folded(
        proposal(1, *goals),
        change(1, Status.ACTIVE),
        change(1, Status.WAITING, phase="asking", goal=asks),
        change(1, Status.CANCELLED, reason="user"),
    )
    assert [goal["question"] for goal in shown(view)["goals"]] == [None, None]


def test_a_goal_that_was_never_tried_has_not_started() -> None:
    goals = (Goal(id="a", kind="echo"), Goal(id="b", kind="echo"))
    view = folded(
        proposal(1, *goals),
        change(1, Status.ACTIVE),
        change(1, Status.ACTIVE, goal=GoalStatus(id="a", kind="echo", status="skipped", attempt=0)),
        change(1, Status.ACTIVE, goal=GoalStatus(id="b", kind="echo", status="queued", attempt=0)),
    )
    assert [(goal.status, goal.attempt, goal.started_at) for goal in view.goals] == [
        ("skipped", 0, None),
        ("queued", 0, None),
    ]
