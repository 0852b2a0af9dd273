"""The params of a goal, with what earlier goals gave back in place of its references."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from contracts import references
from contracts.errors import MissionsError
from contracts.messages import Goal
from services.executor import large, runner
from services.executor.failing import GoalFailed
from services.executor.runner import Plan
from services.runtime.objects import Objects


async def resolved(goal: Goal, plan: Plan, store: Objects) -> Goal:
    """Return the goal with params that hold no references; raises `GoalFailed` for one that leads nowhere."""
    if not references.present(goal.params):
        return goal
    try:
        wanted = {reference.goal for reference in references.find(goal.params)}
        results = {goal_id: await result_of(goal_id, plan, store) for goal_id in wanted if goal_id in plan.results}
        return replace(goal, params=references.resolve(goal.params, results))
    except references.BadReference as error:
        raise GoalFailed(runner.BAD_REFERENCE, runner.failure(error)) from None


async def result_of(goal_id: str, plan: Plan, store: Objects) -> Any:
    """Return the result of a finished goal as a plain value, fetched where a record has only its claim check."""
    try:
        return await large.resolved(plan.results[goal_id], plan.mission.mission_id, goal_id, store)
    except MissionsError as error:
        raise GoalFailed(runner.RESULT_NOT_FOUND, runner.failure(error)) from error
