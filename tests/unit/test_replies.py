from __future__ import annotations

import pytest

from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Failure, Goal, GoalStatus, Mission, StatusRecord, now, status_record
from services.orchestrator import replies
from services.orchestrator.origins import Origin, Origins

ORIGIN = Origin("ops", "evt-1")


def mission(mission_id: str = "m") -> Mission:
    goals = (Goal(id="g1", kind="a"), Goal(id="g2", kind="b"))
    return Mission(
        mission_id=mission_id, goals=goals, event_id="m.0.1", at=now(), title="Two things", conversation="ops",
        causation_id="evt-1",
    )  # fmt: skip


def ended(
    status: Status,
    reason: str = "",
    result: object = None,
    error: Failure | None = None,
    goal: GoalStatus | None = None,
) -> StatusRecord:
    return status_record(
        event_id="m.1.2", mission_id="m", status=status, actor="x", reason=reason, result=result, error=error, goal=goal
    )


def test_a_proposal_is_accepted_by_name() -> None:
    reply = replies.accepted(mission())
    assert (reply.kind, reply.mission_id, reply.in_reply_to) == ("accepted", "m", "evt-1")
    assert "Two things" in reply.text
    assert "2 goals" in reply.text


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_terminal_status_has_a_reply(status: Status) -> None:
    reply = replies.outcome(ended(status, reason="why"), ORIGIN)
    assert reply.kind == ("result" if status is Status.COMPLETED else "error")
    assert reply.in_reply_to == "evt-1"
    assert reply.text


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, "Done."), ("hi", "Done: hi"), ({"a": [1, None]}, 'Done: {"a":[1,null]}'), (0, "Done: 0"), ("", "Done: ")],
)
def test_a_result_is_compact_json_and_a_text_is_itself(result: object, text: str) -> None:
    assert replies.outcome(ended(Status.COMPLETED, result=result), ORIGIN).text == text


def test_a_long_result_is_cut() -> None:
    text = replies.outcome(ended(Status.COMPLETED, result=["x" * 100] * 1_000), ORIGIN).text
    assert len(text) == replies.MAX_TEXT
    assert text.endswith("…")


def test_a_failure_names_goal_reason_and_error() -> None:
    goal = GoalStatus(id="g2", kind="report.build", status="failed", attempt=3)
    record = ended(
        Status.FAILED, "retries_exhausted", error=Failure(type="ValueError", message="no month 13"), goal=goal
    )
    text = replies.outcome(record, ORIGIN).text
    assert text == "Failed (retries_exhausted): goal g2 (report.build): ValueError: no month 13"


def test_a_failure_that_only_the_goal_explains_is_told() -> None:
    goal = GoalStatus(id="g1", kind="a", status="failed", error=Failure(type="KeyError", message="x"))
    assert "KeyError: x" in replies.outcome(ended(Status.FAILED, "handler_error", goal=goal), ORIGIN).text


@pytest.mark.parametrize("error_type", ["Refused", "Rejected"])
def test_a_refusal_is_told_in_its_own_words(error_type: str) -> None:
    record = ended(Status.REJECTED, "not_understood", error=Failure(type=error_type, message="I do not understand."))
    assert replies.outcome(record, ORIGIN).text == "Rejected (not_understood): I do not understand."


def test_origins_are_bounded_and_forgotten() -> None:
    origins = Origins(most=2)
    for name in ("a", "b", "c"):
        origins.remember(mission(name))
    assert origins.get("a") is None
    assert origins.get("c") == ORIGIN
    origins.forget("c")
    origins.forget("never there")
    assert len(origins) == 1


def test_a_proposal_for_a_queue_without_executors_says_so() -> None:
    assert "No executor of the queue default is known" in replies.accepted(mission(), unserved=True).text
    assert "No executor" not in replies.accepted(mission()).text
