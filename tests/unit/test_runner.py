"""The rules of an attempt, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.lifecycle import Status
from contracts.messages import Answer, Failure, Goal, GoalStatus, Mission, RetryPolicy, StatusRecord, now, status_record
from contracts.questions import ANSWERED
from services.executor import refusing, runner
from services.executor.runner import Plan


def mission(*goals: Goal) -> Mission:
    return Mission(mission_id="m", goals=goals, event_id="m.0.1", at=now())


def active(number: int, attempt: int = 1, **options: object) -> StatusRecord:
    return status_record(
        event_id=f"m.{attempt}.{number}",
        mission_id="m",
        status=Status.ACTIVE,
        actor="a",
        attempt=attempt,
        **options,  # type: ignore[arg-type]
    )


def done(goal_id: str, result: object, tries: int = 1) -> GoalStatus:
    return GoalStatus(id=goal_id, kind="echo", status="completed", attempt=tries, result=result)


DIAMOND = mission(
    Goal(id="a", kind="echo"),
    Goal(id="b", kind="echo", needs=("a",)),
    Goal(id="c", kind="echo", needs=("a",)),
    Goal(id="d", kind="echo", needs=("b", "c")),
)


def test_goals_start_when_all_they_need_is_done() -> None:
    plan = Plan(DIAMOND)
    assert [goal.id for goal in plan.ready([])] == ["a"]
    plan.results["a"] = 1
    assert [goal.id for goal in plan.ready([])] == ["b", "c"]
    assert [goal.id for goal in plan.ready(["b"])] == ["c"]
    plan.results |= {"b": 2, "c": 3}
    assert [goal.id for goal in plan.ready([])] == ["d"]


def test_a_later_attempt_skips_what_is_done_and_counts_tries_on() -> None:
    failed = GoalStatus(id="b", kind="echo", status="retrying", attempt=2, error=Failure(type="E", message="x"))
    plan = runner.resume(DIAMOND, [active(1), active(2, goal=done("a", 41)), active(3, goal=failed)])
    assert plan.results == {"a": 41}
    assert plan.tries == {"a": 1, "b": 2}
    assert [goal.id for goal in plan.ready([])] == ["b", "c"]


def test_a_skipped_goal_takes_along_what_needs_it() -> None:
    plan = Plan(DIAMOND, results={"a": 1, "c": 1})
    plan.skip("b")
    assert plan.done
    assert plan.skipped == {"b": "", "d": "b"}


def test_a_later_attempt_skips_what_needed_a_skipped_goal_as_well() -> None:
    skipped = GoalStatus(id="b", kind="echo", status="skipped")
    plan = runner.resume(
        DIAMOND, [active(1), active(2, goal=done("a", 1)), active(3, goal=done("c", 1)), active(4, goal=skipped)]
    )
    assert plan.done


def test_the_result_is_that_of_the_goals_nobody_needs() -> None:
    plan = Plan(DIAMOND, results={"a": 1, "b": 2, "c": 3, "d": 4})
    assert runner.completed(plan).result == 4
    side_by_side = Plan(mission(Goal(id="x", kind="e"), Goal(id="y", kind="e")), results={"x": 1, "y": 2})
    assert runner.completed(side_by_side).result == {"x": 1, "y": 2}


@given(
    st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 50),
        backoff_s=st.floats(0, 100),
        backoff_factor=st.floats(1, 10),
        max_backoff_s=st.floats(0, 1_000),
        jitter=st.floats(0, 1),
    ),
    st.integers(1, 60),
    st.floats(0, 0.999),
)
def test_a_pause_is_bounded_and_ends_with_the_last_try(policy: RetryPolicy, tries: int, share: float) -> None:
    pause = runner.pause_before_retry(policy, tries, share)
    assert (pause is None) == (tries >= policy.max_attempts)
    assert pause is None or 0 <= pause <= policy.max_backoff_s


def test_pauses_grow_by_the_factor() -> None:
    policy = RetryPolicy(max_attempts=9, backoff_s=1, backoff_factor=3, max_backoff_s=20, jitter=0)
    assert [runner.pause_before_retry(policy, tries, 0.5) for tries in (1, 2, 3, 4)] == [1, 3, 9, 20]


def test_an_orderly_release_is_not_a_lost_owner() -> None:
    records = [active(1), active(1, attempt=2), active(2, attempt=2, phase=runner.RELEASED), active(1, attempt=3)]
    assert runner.owners_lost(records) == 2


def test_an_owner_that_was_released_is_not_lost_by_what_is_answered_afterwards() -> None:
    said = GoalStatus(id="a", kind="k", status=ANSWERED, answer=Answer(key="Well?", value=True))
    records = [active(1), active(2, phase="released"), active(3, phase=ANSWERED, goal=said)]
    assert runner.owners_lost(records) == 0
    assert runner.owners_lost([active(1), active(2, phase=ANSWERED, goal=said)]) == 1


@pytest.mark.parametrize(
    ("goals", "word"),
    [
        ([Goal(id="a", kind="e"), Goal(id="a", kind="e")], "same id"),
        ([Goal(id="a", kind="e", needs=("b",))], "goal a"),
        ([Goal(id="a", kind="e", needs=("b",)), Goal(id="b", kind="e", needs=("a",))], "cycle"),
    ],
)
def test_a_plan_that_cannot_be_met_is_rejected_before_anything_runs(goals: list[Goal], word: str) -> None:
    outcome = refusing.bad_plan(mission(*goals))
    assert outcome is not None
    assert outcome.status is Status.REJECTED
    assert outcome.error is not None
    assert word in outcome.error.message


def test_retries_are_exhausted_only_where_there_were_any() -> None:
    assert runner.reason_of_giving_up(RetryPolicy(), runner.HANDLER_ERROR) == "handler_error"
    assert runner.reason_of_giving_up(RetryPolicy(max_attempts=2), runner.HANDLER_ERROR) == "retries_exhausted"
    assert runner.reason_of_giving_up(RetryPolicy(max_attempts=2), runner.HANDLER_REJECTED) == "handler_rejected"
