"""The retry of a mission keeps what that one finished: its results are said again, as records of the new one."""

from __future__ import annotations

from collections.abc import Iterable

from contracts import artifacts, codec, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import GoalStatus, StatusRecord
from services.executor import runner
from services.executor.executor import Executor
from services.executor.ownership import Attempt


async def keep_finished(attempt: Attempt, executor: Executor) -> None:
    """Take over the results of goals that finished in the mission before and have not been begun in this one.

    What stands in the object store goes with the mission that made it, so a goal that kept something there runs again.
    """
    mission, plan = attempt.mission, attempt.plan
    stored = await executor.bus.records(topology.MISSIONS, subjects.status(mission.queue, mission.retry_of))
    records = [codec.decode_status(item.data) for item in stored]
    before, apart = runner.resume(mission, records), kept_apart(records)
    for goal in mission.goals:
        if goal.id in before.results and goal.id not in plan.tries and goal.id not in apart:
            result, tries = before.results[goal.id], before.tries[goal.id]
            kept = GoalStatus(id=goal.id, kind=goal.kind, status=Status.COMPLETED, attempt=tries, result=result)
            await attempt.ledger.note(runner.GOAL_DONE, reason=runner.KEPT, goal=kept)
            plan.results[goal.id], plan.tries[goal.id] = result, tries


def kept_apart(records: Iterable[StatusRecord]) -> set[str]:
    """Return the goals of which something is in the object store: artifacts, or a large result."""
    goals = [record.goal for record in records if record.goal is not None]
    return {goal.id for goal in goals if goal.artifacts or artifacts.claimed(goal.result) is not None}
