"""The retry of a mission keeps what that one finished: its results are said again, as records of the new one."""

from __future__ import annotations

from contracts import codec, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import GoalStatus, Mission
from services.executor import runner
from services.executor.executor import Executor
from services.executor.ledger import Ledger
from services.executor.runner import Plan


async def keep_finished(mission: Mission, ledger: Ledger, plan: Plan, executor: Executor) -> None:
    """Take over the results of goals that finished in the mission before and have not been begun in this one."""
    if not mission.retry_of:
        return
    stored = await executor.bus.records(topology.MISSIONS, subjects.status(mission.queue, mission.retry_of))
    before = runner.resume(mission, [codec.decode_status(item.data) for item in stored])
    for goal in mission.goals:
        if goal.id in before.results and goal.id not in plan.tries:
            result, tries = before.results[goal.id], before.tries[goal.id]
            kept = GoalStatus(id=goal.id, kind=goal.kind, status=Status.COMPLETED, attempt=tries, result=result)
            await ledger.note(runner.GOAL_DONE, reason=runner.KEPT, goal=kept)
            plan.results[goal.id], plan.tries[goal.id] = result, tries
