"""The goals of a mission, in the order of their needs: the inner loop of an attempt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

from msgspec import Raw

from contracts.errors import Lost
from contracts.lifecycle import Status
from contracts.messages import Goal, GoalStatus, Mission, now
from services.executor import resolving, runner
from services.executor.declaring.limits import Limit
from services.executor.executor import Executor
from services.executor.failing import GoalFailed
from services.executor.keeping import keep_finished
from services.executor.ledger import Ledger
from services.executor.ownership import Attempt
from services.executor.registry import Handler
from services.executor.reports.asking import Asks
from services.executor.runner import Outcome
from services.executor.suspending import note_questions, take_answers
from services.executor.trying import checked_params, try_goal


async def do_goals(attempt: Attempt, executor: Executor) -> Outcome:
    """Do the goals that can be done now, and return what that comes to."""
    plan = attempt.plan
    if plan.mission.retry_of:
        await keep_finished(attempt, executor)
    if len(plan.mission.goals) > 1:
        await do_side_by_side(attempt, executor)
    elif not plan.done:
        take_answers(attempt)
        if not plan.questions:
            await do_goal(plan.mission.goals[0], attempt, executor)
    return runner.ended(plan)


async def do_side_by_side(attempt: Attempt, executor: Executor) -> None:
    """Do each goal when what it needs is done, until all are, or those that are left wait for answers."""
    plan = attempt.plan
    at_once = goals_at_once(plan.mission, executor)
    running: dict[asyncio.Task[None], str] = {}
    try:
        while True:
            take_answers(attempt)
            await tell_skipped(attempt)
            if plan.done:
                break
            for goal in plan.ready(running.values(), at_once):
                running[asyncio.create_task(do_goal(goal, attempt, executor))] = goal.id
            await note_questions(attempt, others_run=bool(running))
            if not running:
                break
            for task in await over_or_answered(running, attempt.ledger):
                del running[task]
                task.result()
    except Lost as error:
        attempt.lose(error)  # before the others are ended: they get no time to stop
        raise
    finally:
        await end_all(running)


async def over_or_answered(running: Iterable[asyncio.Task[None]], ledger: Ledger) -> list[asyncio.Task[None]]:
    """Wait until a goal is over or an answer has come; return the goals that are over."""
    answered = asyncio.Event()
    ledger.on_answer = answered.set
    if not ledger.answers:
        heard = asyncio.ensure_future(answered.wait())
        try:
            await asyncio.wait({*running, heard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
    return [task for task in running if task.done()]


def goals_at_once(mission: Mission, executor: Executor) -> int:
    """Return how many goals of a mission run side by side: what it asks for, within what this executor allows."""
    most = executor.settings.parallel_goals
    return min(mission.max_parallel or most, most)


async def tell_skipped(attempt: Attempt) -> None:
    """Write down which goals are never done because of others, so that nobody takes them for forgotten."""
    plan = attempt.plan
    for goal in plan.untold:
        status = runner.skipped(goal, plan.skipped[goal.id])
        await attempt.ledger.note(runner.GOAL_DONE, reason=runner.NEED_NOT_MET, goal=status)
        plan.told.add(goal.id)


async def end_all(running: dict[asyncio.Task[None], str]) -> None:
    """Cancel the goals that still run and wait until they are over."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def do_goal(goal: Goal, attempt: Attempt, executor: Executor) -> None:
    """Try one goal until it succeeds or is given up; the plan of the attempt takes note of which."""
    handler = executor.handler(goal.kind)
    plan = attempt.plan
    while True:
        tries = plan.tries[goal.id] = plan.tries.get(goal.id, 0) + 1
        try:
            result = await try_in_turn(goal, tries, handler, attempt, executor)
        except Asks as asks:
            plan.ask(goal, asks.question)
            return
        except GoalFailed as failed:
            policy = goal.retry or handler.retry
            pause = runner.pause_after(failed.reason, policy, plan.failures(goal.id), random.random())  # noqa: S311
            if pause is None:
                await give_up(goal, failed, handler, attempt)
                return
            status = GoalStatus(
                id=goal.id,
                kind=goal.kind,
                status="retrying",
                attempt=tries,
                error=failed.failure,
                retry_at=now() + timedelta(seconds=pause),
            )
            await attempt.ledger.note(runner.BACKING_OFF, reason=failed.reason, goal=attempt.told(status))
            await asyncio.sleep(pause)
            continue
        if len(plan.mission.goals) > 1:
            status = GoalStatus(id=goal.id, kind=goal.kind, status="completed", attempt=tries, result=result)
            await attempt.ledger.note(runner.GOAL_DONE, goal=attempt.told(status))
        plan.results[goal.id] = result  # only now: what needs this goal starts from what is written
        return


async def try_in_turn(goal: Goal, tries: int, handler: Handler, attempt: Attempt, executor: Executor) -> Raw:
    """Try a goal with its references resolved, when it is its turn; raises `GoalFailed`."""
    goal = await resolving.resolved(goal, attempt.plan, executor.objects)
    if handler.limit is None:
        return await try_goal(goal, tries, handler, attempt, executor)
    async with turn(goal, tries, handler.limit, attempt, executor):
        return await try_goal(goal, tries, handler, attempt, executor)


@asynccontextmanager
async def turn(goal: Goal, tries: int, limit: Limit, attempt: Attempt, executor: Executor) -> AsyncIterator[None]:
    """Hold a turn of a kind that limits its tries; who waits long for it says so, and when it has come."""

    async def on_wait() -> None:
        status = GoalStatus(id=goal.id, kind=goal.kind, status="queued", attempt=tries - 1)
        await attempt.ledger.note(runner.QUEUED, goal=status)

    key = key_of(goal, limit, executor)
    async with executor.turns.turn(goal.kind, key, limit.most, on_wait) as waited:
        if waited:
            status = GoalStatus(id=goal.id, kind=goal.kind, status="active", attempt=tries)
            await attempt.ledger.note(runner.STARTED, goal=status)
        yield


def key_of(goal: Goal, limit: Limit, executor: Executor) -> str:
    """Return the key that the params of a goal make; raises `GoalFailed`."""
    arguments = checked_params(goal, executor.handler(goal.kind))
    try:
        return limit.key_of(arguments)
    except Exception as error:  # how a param writes itself is the user's
        raise GoalFailed(runner.BAD_PARAMS, runner.failure(error)) from error


async def give_up(goal: Goal, failed: GoalFailed, handler: Handler, attempt: Attempt) -> None:
    """Skip an optional goal; the failure of any other fails its mission, now or when the rest is done."""
    plan = attempt.plan
    tries = plan.tries[goal.id]
    if goal.optional:
        skipped = GoalStatus(id=goal.id, kind=goal.kind, status=runner.SKIPPED, attempt=tries, error=failed.failure)
        await attempt.ledger.note(runner.GOAL_DONE, reason=failed.reason, goal=attempt.told(skipped))
        plan.skip(goal.id)
        return
    status = GoalStatus(id=goal.id, kind=goal.kind, status="failed", attempt=tries, error=failed.failure)
    reason = runner.reason_of_giving_up(goal.retry or handler.retry, failed.reason)
    if plan.goes_on and len(plan.mission.goals) > 1:
        await attempt.ledger.note(runner.GOAL_DONE, reason=reason, goal=attempt.told(status))
    plan.fail(goal.id, Outcome(Status.FAILED, reason, error=failed.failure, goal=status))
