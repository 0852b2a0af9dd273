from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.lifecycle import Status
from contracts.messages import Answer, Failure, Goal, GoalStatus, Question, RetryPolicy
from services.whiteboard.facts import Blocked, Retrying, Serving
from services.whiteboard.record import Record
from services.whiteboard.view import fold
from services.whiteboard.why import Why, explain
from tests.support.recording import change, proposal, stream

BOOM = Failure(type="Boom", message="no disk")
SERVED = Serving(alive=True, asking=1)
AGAIN = GoalStatus(
    id="a",
    kind="fail",
    status="retrying",
    attempt=2,
    error=BOOM,
    retry_at=datetime(2026, 1, 1, 0, 0, 15, tzinfo=UTC),
)
FLAKY = Goal(id="a", kind="fail", retry=RetryPolicy(max_attempts=5, backoff_s=4, backoff_factor=3))


def why(*messages: tuple[str, bytes], serving: Serving | None = SERVED, now: datetime | None = None) -> Why:
    records = [Record(note.seq, note.time, note.subject, note.data, b"") for note in stream(messages)]
    view = fold(records)
    assert view is not None
    return explain(view, records, serving, now)


def active(**fields: Any) -> tuple[str, bytes]:
    return change(1, Status.ACTIVE, **({"actor": "executor/vm/1"} | fields))


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        (None, "It has not been started"),
        (Serving(exists=False), "no executor ever served the queue default"),
        (Serving(), "nobody serves the queue default now"),
        (Serving(alive=True, pending=7, owned=200), "are busy, 200 missions running, 7 waiting"),
        (Serving(alive=True, asking=2, pending=1), "it is about to start"),
        (Serving(problem="no answer"), "why cannot be told: no answer"),
    ],
)
def test_what_nobody_has_started_says_who_serves_its_queue(serving: Serving | None, words: str) -> None:
    assert words in why(proposal(1), serving=serving).summary


def test_what_nobody_serves_says_what_to_start() -> None:
    assert "Start an executor: missions executor --queues default" in why(proposal(1), serving=Serving()).details


def test_what_is_owned_names_its_owner_and_the_last_that_was_heard() -> None:
    told = why(proposal(1), active())
    assert told.summary == "It is owned by executor/vm/1, attempt 1; running: g1"
    assert told.details == ("The last record of its owner is of 2026-01-01T00:00:02.000000000Z",)
    assert [attempt.ended for attempt in told.facts.attempts] == [""]


def test_what_was_taken_over_tells_how_each_attempt_ended() -> None:
    second = {"attempt": 2, "actor": "executor/vm/2"}
    released = active(phase="released", **second)
    told = why(proposal(1), active(), active(phase="recovering", **second), released, serving=Serving())
    assert [attempt.ended for attempt in told.facts.attempts] == [
        "lost: silent for longer than its lease",
        "handed back: its process stopped",
    ]
    assert "handed it back: nobody serves" in told.summary


def test_what_failed_and_is_tried_again_says_when() -> None:
    told = why(proposal(1, FLAKY), active(), active(phase="backing_off", reason="handler_error", goal=AGAIN))
    assert told.facts.retrying == (Retrying(goal="a", at=AGAIN.retry_at),)
    assert told.summary == "A try failed; the next one starts at 2026-01-01T00:00:15Z"
    assert "What failed first: goal a, handler_error, at sequence 3: Boom: no disk" in told.details


def test_a_goal_that_is_tried_again_does_not_hide_those_that_run() -> None:
    history = [proposal(1, FLAKY, Goal(id="b", kind="echo")), active()]
    runs = GoalStatus(id="b", kind="echo", status="active")
    for order in ((AGAIN, runs), (runs, AGAIN)):
        told = why(*history, *(active(goal=goal) for goal in order))
        assert told.summary == "It is owned by executor/vm/1, attempt 1; running: b"
        assert "Goal a failed and is tried again at 2026-01-01T00:00:15Z" in told.details


def test_a_goal_that_waits_for_its_turn_says_so() -> None:
    queued = GoalStatus(id="g1", kind="echo", status="queued", attempt=0)
    told = why(proposal(1), active(), active(phase="queued", goal=queued))
    assert told.summary == "It waits for its turn at executor/vm/1, where as many of its kind run as may: g1"
    assert (told.facts.queued, told.facts.running) == (("g1",), ())


def test_every_question_is_told_and_how_to_answer_it() -> None:
    asked = [
        GoalStatus(id=name, kind="echo", status="waiting", question=Question(key="go", text=f"{name}?"))
        for name in ("a", "b")
    ]
    history = [proposal(1, *(Goal(id=goal.id, kind="echo") for goal in asked)), active(goal=asked[0])]
    told = why(*history, change(1, Status.WAITING, goal=asked[1]))
    assert told.summary == "It waits for an answer: 'a?' (goal a), and for 1 more"
    assert [detail for detail in told.details if detail.startswith("Answer")] == [
        f"Answer it: missions answer {told.mission_id} … --goal {name}  '{name}?' (goal {name})" for name in ("a", "b")
    ]


def test_an_outcome_is_not_told_twice() -> None:
    cancelled = change(1, Status.CANCELLED, reason="user", error=Failure(type="Cancelled", message="wrong customer"))
    told = why(proposal(1), active(), cancelled)
    assert (told.summary, told.details) == ("It is cancelled, user: Cancelled: wrong customer", ())


def test_what_waits_says_for_whom_and_until_when() -> None:
    asked = Question(key="go", text="Ship it?", expires_at=datetime(2026, 1, 2, tzinfo=UTC))
    goal = GoalStatus(id="g1", kind="echo", status="waiting", question=asked)
    told = why(proposal(1), active(), change(1, Status.WAITING, goal=goal, actor="executor/vm/1"))
    assert told.summary == "It waits for an answer: 'Ship it?' (goal g1), until 2026-01-02T00:00:00Z"
    assert told.facts.attempts[0].ended == "let go: the mission waits"


def test_what_was_answered_says_who_could_take_it_up() -> None:
    asked = GoalStatus(id="g1", kind="echo", status="waiting", question=Question(key="go", text="Ship it?"))
    told = GoalStatus(id="g1", kind="echo", status="answered", answer=Answer(key="go", value=True))
    history = [proposal(1), active(), change(1, Status.WAITING, goal=asked, actor="executor/vm/1")]
    answered = change(1, Status.WAITING, phase="answered", goal=told, actor="orchestrator")
    assert why(*history, answered, serving=Serving()).summary == (
        "It was answered and has not been taken up again: nobody serves the queue default now"
    )


def test_what_is_being_cancelled_says_since_when() -> None:
    told = why(proposal(1), active(), active(phase="cancelling", actor="orchestrator"), active(phase="progress"))
    assert told.facts.cancelling_since == "2026-01-01T00:00:03.000000000Z"
    assert "asked to stop at 2026-01-01T00:00:03" in told.summary
    assert told.facts.attempts[0].last_sign == "2026-01-01T00:00:04.000000000Z"


def test_goals_that_wait_for_others_are_named() -> None:
    goals = (Goal(id="a", kind="echo"), Goal(id="b", kind="echo"), Goal(id="c", kind="echo", needs=("a", "b")))
    done = GoalStatus(id="a", kind="echo", status="completed")
    told = why(proposal(1, *goals), active(), active(phase="goal_done", goal=done))
    assert told.facts.blocked == (Blocked(goal="c", needs=("b",)),)
    assert "Goal c waits for b" in told.details


def test_what_is_over_says_how_and_what_failed_first() -> None:
    first = GoalStatus(id="a", kind="fail", status="retrying", attempt=1, error=BOOM)
    last = GoalStatus(id="a", kind="fail", status="failed", attempt=2, error=Failure(type="Crash", message="late"))
    told = why(
        proposal(1, FLAKY, deadline=datetime(2026, 1, 2, tzinfo=UTC)),
        active(),
        active(phase="backing_off", reason="handler_error", goal=first),
        change(1, Status.FAILED, reason="retries_exhausted", goal=last, error=last.error, actor="executor/vm/1"),
    )
    assert told.summary == "It is failed, retries_exhausted: Crash: late"
    assert told.details == ("What failed first: goal a, handler_error, at sequence 3: Boom: no disk",)
    assert told.facts.attempts[0].ended == "failed: retries_exhausted"
    assert told.facts.serving is None


def test_a_deadline_that_is_still_to_come_is_told() -> None:
    assert "It fails at its deadline" in why(proposal(1, deadline=datetime(2030, 1, 1, tzinfo=UTC))).details[-1]


def test_a_record_that_nobody_understands_changes_no_answer() -> None:
    subject, _ = active()
    assert why(proposal(1), active(), (subject, b"rubbish")).summary == why(proposal(1), active()).summary


def test_what_retention_dropped_is_said_to_be_gone() -> None:
    goal = GoalStatus(id="a", kind="fail", status="retrying", attempt=2, error=BOOM)
    notes = stream([proposal(1, FLAKY), active(phase="backing_off", goal=goal)])
    records = [Record(note.seq, note.time, note.subject, note.data, b"") for note in notes]
    view = fold(records)
    assert view is not None
    assert explain(view, records, SERVED).facts.dropped_before is None
    for left, first in ((records[1:], 2), ([], 3)):
        told = explain(view, left, SERVED)
        assert told.facts.dropped_before == first
        assert f"Its records before sequence {first} are gone" in "".join(told.details)
        assert told.summary.startswith("A try failed; the next one starts after a pause")


def swept(number: int = 1) -> tuple[str, bytes]:
    """Return a work item that the sweep put back."""
    subject, data = proposal(number)
    return subject, data.replace(b".0.1", b".sweep.1")


DONE = Serving(alive=True, asking=1, done_to=99)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([proposal(1)], "its work item is gone and no outcome was written"),
        (
            [proposal(1), active()],
            "puts it back into the queue default once nothing was written of it for three leases",
        ),
        ([proposal(1), active(), swept()], "put its work item back, and that is gone as well"),
        ([proposal(1), active(), swept(), active(attempt=2)], "puts it back into the queue default"),
        ([proposal(1), active(), active(phase="cancelling")], "the orchestrator's sweep writes that outcome"),
    ],
)
def test_what_is_lost_says_so_and_what_becomes_of_it(messages: list[tuple[str, bytes]], words: str) -> None:
    told = why(*messages, serving=DONE)
    assert told.summary.startswith("It is lost")
    assert words in told.summary
    assert told.facts.lost


def test_what_waits_has_ended_or_may_still_be_given_out_is_not_lost() -> None:
    question = GoalStatus(id="g1", kind="echo", status="waiting", question=Question(key="?", text="Sure?"))
    asking = change(1, Status.WAITING, phase="asking", goal=question)
    over = change(1, Status.COMPLETED, reason="ok")
    assert not why(proposal(1), active(), asking, serving=DONE).facts.lost
    assert not why(proposal(1), active(), over, serving=DONE).facts.lost
    assert not why(proposal(1), active(), swept(), serving=Serving(done_to=2)).facts.lost


def test_a_work_item_that_was_put_back_is_told() -> None:
    told = why(proposal(1), swept())
    assert told.details[0] == f"Its work item was lost, and put back at {told.facts.since}"


def test_a_deadline_that_was_not_kept_is_not_promised() -> None:
    deadline = datetime(2026, 1, 1, tzinfo=UTC)
    told = why(proposal(1, deadline=deadline), now=datetime(2026, 1, 2, tzinfo=UTC))
    assert "It was to end at its deadline" in told.details[-1]
