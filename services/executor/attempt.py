"""One mission, from claim to outcome: the pipeline that an executor runs for every work item."""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace
from structlog.contextvars import bind_contextvars

from contracts import codec
from contracts.errors import ContractError
from contracts.lifecycle import Status
from contracts.messages import Failure, Mission
from services.executor import claiming, performing, runner
from services.executor.executor import Executor
from services.executor.ledger import Answered, Cancelling
from services.executor.ownership import Attempt, Released
from services.executor.runner import Outcome
from services.runtime.incoming import Incoming

#: What handlers get to stop once their executor stops and its own grace is over.
_RELEASE_GRACE_S = 0.5


async def run_mission(work: Incoming, executor: Executor) -> None:
    """Own one mission, from claim to outcome; returning means that its work item is done with."""
    mission = codec.decode_mission(work.data)
    bind_contextvars(mission_id=mission.mission_id)  # of this task alone
    claimed = await claiming.claim(mission, work, executor)
    if claimed is None:
        return
    attempt = Attempt(mission, work, *claimed)
    executor.leases.hold(attempt)
    try:
        outcome = await run_to_outcome(attempt, executor)
    finally:
        executor.leases.let_go(attempt)
    executor.count(outcome)


async def run_to_outcome(attempt: Attempt, executor: Executor) -> Outcome:
    """Perform and write what came of it; an answer that arrives before the mission is left waiting lets it go on."""
    while True:
        outcome = await perform(attempt, executor)
        if outcome.goal is not None or outcome.status is not Status.WAITING:
            outcome = attempt.with_last_words(outcome)
        try:
            return await settle(attempt, outcome)
        except Answered:
            if outcome.goal is not None:  # no record asks it yet
                attempt.plan.unwritten[outcome.goal.id] = outcome.goal


async def settle(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Write the outcome and return it; one that is too large loses its result, which its goals' records hold as well.

    A mission that was asked to stop is not left waiting; raises `Answered` where it need not wait any more.
    """
    if outcome.status is Status.WAITING:
        try:
            await attempt.ledger.wait(outcome.goal)
        except Cancelling as wish:
            return await settle(attempt, stopped(wish.reason, wish.error))
        return outcome
    if phase := attempt.phase_of(outcome):
        outcome = replace(outcome, phase=phase)
    try:
        await attempt.ledger.settle(outcome)
    except ContractError:
        await settle_shorter(attempt, outcome)
    return outcome


async def settle_shorter(attempt: Attempt, outcome: Outcome) -> None:
    """Write an outcome that is too large without its result, or even without its goal: a mission has to end."""
    try:
        await attempt.ledger.settle(replace(outcome, result=None))
    except ContractError:
        await attempt.ledger.settle(replace(outcome, result=None, goal=None))


async def perform(attempt: Attempt, executor: Executor) -> Outcome:
    """Do the goals until they are settled, the deadline passes, or somebody asks to stop."""
    try:
        return await attempt.interruptible(before_deadline(attempt, executor))
    except Cancelling as wish:
        return stopped(wish.reason, wish.error)
    except Released:
        await attempt.ledger.mention(runner.RELEASED, reason="executor_stopping")
        raise
    except ContractError as error:  # a record that nobody could read: the mission ends all the same
        return Outcome(Status.FAILED, runner.UNWRITABLE, error=runner.failure(error))


async def before_deadline(attempt: Attempt, executor: Executor) -> Outcome:
    """Do the goals, at most until the deadline of the mission."""
    seconds = seconds_left(attempt.mission)
    if seconds is None:
        return await performing.do_goals(attempt, executor)
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await performing.do_goals(attempt, executor)
    except TimeoutError:
        if limit.expired():
            return stopped(runner.DEADLINE_EXCEEDED)
        raise


def seconds_left(mission: Mission) -> float | None:
    """Return the seconds until the deadline of a mission, if it has one."""
    return None if mission.deadline is None else max(0.0, mission.deadline.timestamp() - time.time())


def stopped(reason: str, error: Failure | None = None) -> Outcome:
    """Return the outcome of a mission that was asked to stop: a deadline is a failure, never a cancel."""
    status = Status.FAILED if reason == runner.DEADLINE_EXCEEDED else Status.CANCELLED
    return Outcome(status, reason, error=error)


def release_all(executor: Executor) -> None:
    """Interrupt everything that is owned, because this process stops."""
    for attempt in executor.leases.all():
        attempt.hurry(_RELEASE_GRACE_S)
        attempt.interrupt(Released("the executor stops"))
