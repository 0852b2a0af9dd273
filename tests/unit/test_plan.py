"""Whatever the plan and wherever its records break off: a later attempt goes on as the first would have."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.lifecycle import Status
from contracts.messages import Failure, Goal, GoalStatus, Mission, OnFailure, StatusRecord, now, status_record
from services.executor import runner
from services.executor.runner import Outcome, Plan
from tests.support.unhurried import unhurried

FATES = st.sampled_from(["done", "done", "retry", "fail"])


class Story(NamedTuple):
    """A mission, and what becomes of each of its goals when it is tried."""

    mission: Mission
    fates: dict[str, str]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    count = draw(st.integers(2, 10))
    goals, fates = [], {}
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1))) if number else set()
        name = f"g{number}"
        goals.append(
            Goal(id=name, kind="k", needs=tuple(f"g{need}" for need in sorted(needs)), optional=draw(st.booleans()))
        )
        fates[name] = draw(FATES)
    order = draw(st.permutations(goals))
    on_failure: OnFailure = draw(st.sampled_from(["fail", "continue"]))
    mission = Mission(mission_id="m", goals=tuple(order), event_id="m.0.1", at=now(), on_failure=on_failure)
    return Story(mission, fates)


class Telling:
    """Does a plan as the loop of an attempt does it, one goal at a time, and keeps the records."""

    def __init__(self, story: Story, records: list[StatusRecord]) -> None:
        self.records = list(records)
        self.ran: list[str] = []
        self._fates = story.fates
        self.plan = runner.resume(story.mission, records)

    def note(self, reason: str = "", **goal: Any) -> GoalStatus:
        status = GoalStatus(kind="k", **goal)
        record = status_record(
            event_id=f"m.1.{len(self.records)}",
            mission_id="m",
            status=Status.ACTIVE,
            actor="a",
            attempt=1,
            phase="goal_done",
            reason=reason,
            goal=status,
        )
        self.records.append(record)
        return status

    def tell(self) -> Outcome:
        plan = self.plan
        while True:
            for goal in plan.untold:
                self.note(id=goal.id, status="skipped", attempt=0)
                plan.told.add(goal.id)
            if plan.done:
                return runner.ended(plan)
            self._try(plan, plan.ready([])[0])

    def _try(self, plan: Plan, goal: Goal) -> None:
        tries = plan.tries[goal.id] = plan.tries.get(goal.id, 0) + 1
        self.ran.append(goal.id)
        fate = self._fates[goal.id]
        error = Failure(type="E", message=goal.id)
        if fate == "retry" and tries == 1:
            self.note("handler_error", id=goal.id, status="retrying", attempt=tries, error=error)
        elif fate != "fail":
            self.note(id=goal.id, status="completed", attempt=tries, result=goal.id)
            plan.results[goal.id] = goal.id
        elif goal.optional:
            self.note("handler_error", id=goal.id, status="skipped", attempt=tries, error=error)
            plan.skip(goal.id)
        else:
            status = GoalStatus(id=goal.id, kind="k", status="failed", attempt=tries, error=error)
            if plan.goes_on:
                self.note("handler_error", id=goal.id, status="failed", attempt=tries, error=error)
            plan.fail(goal.id, Outcome(Status.FAILED, "handler_error", error=error, goal=status))


def settled_in(records: list[StatusRecord]) -> set[str]:
    ends = {"completed", "failed", "skipped"}
    return {record.goal.id for record in records if record.goal and record.goal.status in ends}


@unhurried
@given(stories(), st.data())
def test_any_prefix_of_the_records_resumes_to_the_same_end(story: Story, data: st.DataObject) -> None:
    whole = Telling(story, [])
    end = whole.tell()
    cut = data.draw(st.integers(0, len(whole.records)))
    kept = whole.records[:cut]
    later = Telling(story, kept)
    settled = settled_in(kept)
    assert not settled & {goal.id for goal in later.plan.ready([])}
    assert later.tell() == end
    assert not settled & set(later.ran)
    assert settled_in(later.records) == settled_in(whole.records)
    told = [record.goal.id for record in later.records if record.goal and record.goal.status != "retrying"]
    assert len(told) == len(set(told))  # one record for each goal that ended


@unhurried
@given(stories())
def test_everything_settles_and_the_outcome_is_the_first_failure(story: Story) -> None:
    telling = Telling(story, [])
    outcome = telling.tell()
    goals = {goal.id: goal for goal in story.mission.goals}
    failed = [name for name in telling.ran if story.fates[name] == "fail" and not goals[name].optional]
    if failed:
        assert (outcome.status, outcome.error) == (Status.FAILED, Failure(type="E", message=failed[0]))
    else:
        assert outcome.status == Status.COMPLETED
    if story.mission.on_failure == "continue" or not failed:
        assert settled_in(telling.records) == goals.keys()
        for name in telling.plan.skipped:
            assert telling.plan.tries.get(name, 0) == 0 or goals[name].optional
    else:
        assert telling.ran[-1] == failed[0]


@pytest.mark.parametrize(("at_once", "running", "expected"), [(2, [], 2), (2, ["a"], 1), (1, ["a"], 0), (9, [], 3)])
def test_no_more_goals_start_than_there_is_room_for(at_once: int, running: list[str], expected: int) -> None:
    goals = tuple(Goal(id=name, kind="k") for name in "abc")
    plan = Plan(Mission(mission_id="m", goals=goals, event_id="m.0.1", at=now()))
    assert len(plan.ready(running, at_once)) == expected
