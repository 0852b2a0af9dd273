"""One mission, from claim to outcome: the pipeline that an executor runs for every work item."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from structlog.contextvars import bind_contextvars

from contracts import codec
from contracts.errors import ContractError
from contracts.lifecycle import Status
from contracts.messages import Goal, GoalStatus, Mission
from services.executor import claiming, runner
from services.executor.executor import Executor
from services.executor.ledger import Cancelling
from services.executor.ownership import Attempt, Released
from services.executor.registry import Handler
from services.executor.runner import Outcome
from services.executor.trying import GoalFailed, try_goal
from services.runtime.incoming import Incoming


async def run_mission(work: Incoming, executor: Executor) -> None:
    """Own one mission, from claim to outcome; returning means that its work item is done with."""
    mission = codec.decode_mission(work.data)
    bind_contextvars(mission_id=mission.mission_id)  # of this task alone
    claimed = await claiming.claim(mission, work, executor)
    if claimed is None:
        return
    attempt = Attempt(mission, work, *claimed)
    with executor.leases.hold(attempt):
        outcome = await perform(attempt, executor)
        await settle(attempt, outcome)
    executor.count(outcome)


async def settle(attempt: Attempt, outcome: Outcome) -> None:
    """Write the outcome; one that is too large loses its result, which the records of its goals hold as well."""
    try:
        await attempt.ledger.settle(outcome)
    except ContractError:
        await attempt.ledger.settle(replace(outcome, result=None))


async def perform(attempt: Attempt, executor: Executor) -> Outcome:
    """Do the goals until they are settled, the deadline passes, or somebody asks to stop."""
    try:
        return await attempt.interruptible(before_deadline(attempt, executor))
    except Cancelling as wish:
        return stopped(wish.reason)
    except Released:
        await attempt.ledger.note(runner.RELEASED, reason="executor_stopping")
        raise
    except ContractError as error:  # a record that nobody could read: the mission ends all the same
        return Outcome(Status.FAILED, runner.UNWRITABLE, error=runner.failure(error))


async def before_deadline(attempt: Attempt, executor: Executor) -> Outcome:
    """Do the goals, at most until the deadline of the mission."""
    seconds = seconds_left(attempt.mission)
    if seconds is None:
        return await do_goals(attempt, executor)
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await do_goals(attempt, executor)
    except TimeoutError:
        if limit.expired():
            return stopped(runner.DEADLINE_EXCEEDED)
        raise


def seconds_left(mission: Mission) -> float | None:
    """Return the seconds until the deadline of a mission, if it has one."""
    return None if mission.deadline is None else max(0.0, mission.deadline.timestamp() - claiming.wall_clock())


def stopped(reason: str) -> Outcome:
    """Return the outcome of a mission that was asked to stop: a deadline is a failure, never a cancel."""
    if reason == runner.DEADLINE_EXCEEDED:
        return Outcome(Status.FAILED, reason)
    return Outcome(Status.CANCELLED, reason)


async def do_goals(attempt: Attempt, executor: Executor) -> Outcome:
    """Do goals in dependency order, independent ones side by side; the first that fails for good ends them all."""
    plan = attempt.plan
    if len(plan.mission.goals) == 1 and not plan.done:
        return await do_goal(plan.mission.goals[0], attempt, executor) or runner.completed(plan)
    running: dict[asyncio.Task[Outcome | None], str] = {}
    try:
        while not plan.done:
            for goal in plan.ready(running.values()):
                running[asyncio.create_task(do_goal(goal, attempt, executor))] = goal.id
            if not running:
                return Outcome(Status.FAILED, runner.BAD_PLAN)
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                del running[task]
                if failed := task.result():
                    return failed
    finally:
        await end_all(running)
    return runner.completed(plan)


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
        except GoalFailed as failed:
            pause = runner.pause_after(failed.reason, goal.retry or handler.retry, tries, random.random())  # noqa: S311
            if pause is None:
                return await give_up(goal, failed, handler, attempt)
            status = GoalStatus(id=goal.id, kind=goal.kind, status="retrying", attempt=tries, error=failed.failure)
            await attempt.ledger.note(runner.BACKING_OFF, reason=failed.reason, goal=status)
            await asyncio.sleep(pause)
            continue
        if len(plan.mission.goals) > 1:
            status = GoalStatus(id=goal.id, kind=goal.kind, status="completed", attempt=tries, result=result)
            await attempt.ledger.note(runner.GOAL_DONE, goal=status)
        plan.results[goal.id] = result  # only now: what needs this goal starts from what is written
        return None


async def give_up(goal: Goal, failed: GoalFailed, handler: Handler, attempt: Attempt) -> Outcome | None:
    """Skip an optional goal; the failure of any other is the outcome of its mission."""
    tries = attempt.plan.tries[goal.id]
    status = GoalStatus(id=goal.id, kind=goal.kind, status="failed", attempt=tries, error=failed.failure)
    if goal.optional:
        skipped = GoalStatus(id=goal.id, kind=goal.kind, status="skipped", attempt=tries, error=failed.failure)
        await attempt.ledger.note(runner.GOAL_DONE, reason=failed.reason, goal=skipped)
        attempt.plan.skip(goal.id)
        return None
    reason = runner.reason_of_giving_up(goal.retry or handler.retry, failed.reason)
    return Outcome(Status.FAILED, reason, error=failed.failure, goal=status)


def release_all(executor: Executor) -> None:
    """Interrupt everything that is owned, because this process stops."""
    for attempt in executor.leases.all():
        attempt.interrupt(Released("the executor stops"))
