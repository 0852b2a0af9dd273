"""The goals of a mission, in the order of their needs: the inner loop of an attempt."""

from __future__ import annotations

import asyncio
import random

from contracts.lifecycle import Status
from contracts.messages import Goal, GoalStatus
from services.executor import runner
from services.executor.asking import Asks
from services.executor.executor import Executor
from services.executor.failing import GoalFailed
from services.executor.ownership import Attempt
from services.executor.registry import Handler
from services.executor.runner import Outcome
from services.executor.suspending import note_questions, take_answers
from services.executor.trying import try_goal


async def do_goals(attempt: Attempt, executor: Executor) -> Outcome:
    """Do goals in dependency order, independent ones side by side; the first that fails for good ends them all."""
    plan = attempt.plan
    if len(plan.mission.goals) == 1 and not plan.done:
        take_answers(attempt)
        failed = None if plan.questions else await do_goal(plan.mission.goals[0], attempt, executor)
        return failed or runner.ended(plan)
    running: dict[asyncio.Task[Outcome | None], str] = {}
    try:
        while not plan.done:
            take_answers(attempt)
            for goal in plan.ready(running.values()):
                running[asyncio.create_task(do_goal(goal, attempt, executor))] = goal.id
            await note_questions(attempt, others_run=bool(running))
            if not running:
                break
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                del running[task]
                if failed := task.result():
                    return failed
    finally:
        await end_all(running)
    return runner.ended(plan)


async def end_all(running: dict[asyncio.Task[Outcome | None], str]) -> None:
    """Cancel the goals that still run and wait until they are over."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def do_goal(goal: Goal, attempt: Attempt, executor: Executor) -> Outcome | None:
    """Try one goal until it succeeds or is given up; return the mission's outcome when that decides it."""
    handler = executor.handler(goal.kind)
    plan = attempt.plan
    while True:
        tries = plan.tries[goal.id] = plan.tries.get(goal.id, 0) + 1
        try:
            result = await try_goal(goal, tries, handler, attempt, executor)
        except Asks as asks:
            plan.ask(goal, asks.question)
            return None
        except GoalFailed as failed:
            policy = goal.retry or handler.retry
            pause = runner.pause_after(failed.reason, policy, plan.failures(goal.id), random.random())  # noqa: S311
            if pause is None:
                return await give_up(goal, failed, handler, attempt)
            status = GoalStatus(id=goal.id, kind=goal.kind, status="retrying", attempt=tries, error=failed.failure)
            await attempt.ledger.note(runner.BACKING_OFF, reason=failed.reason, goal=attempt.told(status))
            await asyncio.sleep(pause)
            continue
        if len(plan.mission.goals) > 1:
            status = GoalStatus(id=goal.id, kind=goal.kind, status="completed", attempt=tries, result=result)
            await attempt.ledger.note(runner.GOAL_DONE, goal=attempt.told(status))
        plan.results[goal.id] = result  # only now: what needs this goal starts from what is written
        return None


async def give_up(goal: Goal, failed: GoalFailed, handler: Handler, attempt: Attempt) -> Outcome | None:
    """Skip an optional goal; the failure of any other is the outcome of its mission."""
    tries = attempt.plan.tries[goal.id]
    status = GoalStatus(id=goal.id, kind=goal.kind, status="failed", attempt=tries, error=failed.failure)
    if goal.optional:
        skipped = GoalStatus(id=goal.id, kind=goal.kind, status="skipped", attempt=tries, error=failed.failure)
        await attempt.ledger.note(runner.GOAL_DONE, reason=failed.reason, goal=attempt.told(skipped))
        attempt.plan.skip(goal.id)
        return None
    reason = runner.reason_of_giving_up(goal.retry or handler.retry, failed.reason)
    return Outcome(Status.FAILED, reason, error=failed.failure, goal=status)
