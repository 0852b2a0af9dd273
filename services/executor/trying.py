"""One try at one goal: its handler, in its place, within its time."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import structlog
from msgspec import Raw

from contracts.errors import ContractError, MissionsError
from contracts.messages import Failure, Goal
from services.executor import large, runner
from services.executor.call import Call
from services.executor.executor import Executor, Place
from services.executor.failing import GoalFailed, reason_of
from services.executor.ownership import Attempt
from services.executor.registry import Handler
from services.executor.reports.asking import Asks
from services.executor.reports.checkpoints import Checkpoints
from services.executor.reports.line import Facts
from services.executor.reports.uploads import NotKept, Uploads

log = structlog.get_logger()


async def try_goal(goal: Goal, tries: int, handler: Handler, attempt: Attempt, executor: Executor) -> Raw:
    """Run the handler once and return its result as JSON; raises `GoalFailed`, and `Asks` where it asks a person."""
    uploads = Uploads(executor.objects, executor.spool)
    report = uploads.of(facts_of(goal, tries, attempt, executor))
    checkpoints = Checkpoints(report, attempt)
    report.grace_s = handler.placement.cancel_grace_s or executor.settings.cancel_grace_s
    call = Call(handler, goal.params, checked_params(goal, handler), report)
    seconds = goal.timeout_s or handler.timeout_s or executor.settings.goal_timeout_s
    refuse_if_stuck(handler, executor)
    await executor.places[handler.isolation].reserve()
    attempt.reports[goal.id] = report
    try:
        result = await within(seconds, executor, call, checkpoints)
        return await kept(result, goal, attempt, executor, uploads)
    except Asks:
        await stored(uploads)
        raise
    except GoalFailed as failed:
        await uploads.settled()  # what a try made before it failed may say why
        log.warning(
            "goal_failed",
            mission_id=attempt.mission.mission_id,
            goal=goal.id,
            attempt=tries,
            kind=goal.kind,
            reason=failed.reason,
            exc_info=failed.__cause__,
        )
        raise
    finally:
        checkpoints.end()
        uploads.close()
        if handler.isolation == "process":
            executor.spool.clear(report.facts.spool)
        del attempt.reports[goal.id]
        if told := report.take():
            attempt.last_words[goal.id] = told
        if report.detached:
            attempt.given_up.append(report)


async def kept(data: bytes, goal: Goal, attempt: Attempt, executor: Executor, uploads: Uploads) -> Raw:
    """Return the result once all that the try made is stored; raises `GoalFailed` where something cannot be."""
    await stored(uploads)
    try:
        return await large.inline(data, attempt.mission, goal, executor.objects)
    except MissionsError as error:
        raise GoalFailed(runner.ARTIFACT_NOT_STORED, runner.failure(error)) from error


async def stored(uploads: Uploads) -> None:
    """Wait until every artifact of the try is stored; raises `GoalFailed` where one cannot be."""
    try:
        await uploads.finished()
    except (NotKept, MissionsError) as error:
        raise GoalFailed(runner.ARTIFACT_NOT_STORED, runner.failure(error)) from error


def facts_of(goal: Goal, tries: int, attempt: Attempt, executor: Executor) -> Facts:
    """Return what the handler of this try is told."""
    fence = attempt.ledger.fence
    return Facts(
        mission_id=attempt.mission.mission_id,
        goal_id=goal.id,
        kind=goal.kind,
        attempt=tries,
        fence=fence,
        deadline=attempt.mission.deadline,
        checkpoint=attempt.plan.checkpoints.get(goal.id),
        answers=attempt.plan.answers.get(goal.id, ()),
        spool=executor.spool.place(f"{attempt.mission.mission_id}.{goal.id}.{fence}.{tries}"),
        artifact_bytes=executor.settings.artifact_bytes,
    )


def checked_params(goal: Goal, handler: Handler) -> dict[str, Any]:
    """Check the params once more, since what they name may be gone by now; raises `GoalFailed`."""
    try:
        return handler.validate(goal.params)
    except ContractError as error:
        raise GoalFailed(runner.BAD_PARAMS, runner.failure(error)) from error


def refuse_if_stuck(handler: Handler, executor: Executor) -> None:
    """Refuse a try where too many earlier ones of its kind were given up and still run; raises `GoalFailed`."""
    stuck = executor.places[handler.isolation].detached[handler.kind]
    if stuck >= executor.settings.max_detached:
        message = (
            f"{stuck} earlier tries of {handler.kind} were asked to stop and still run: "
            "look at ctx.cancelled, or use isolation='process'"
        )
        raise GoalFailed(runner.HANDLERS_STUCK, runner.described("Stuck", message))


async def within(seconds: float, executor: Executor, call: Call, checkpoints: Checkpoints) -> bytes:
    """Run the call where its handler belongs; whatever it raises becomes `GoalFailed`, but for our own cancel."""
    limit = asyncio.timeout(seconds)
    began = perf_counter()
    try:
        async with limit:
            return await saved_and_run(executor.places[call.handler.isolation], call, checkpoints)
    except (Asks, GoalFailed):
        raise
    except Exception as error:
        if limit.expired():
            late = Failure(type="Timeout", message=f"{call.handler.kind} took longer than {seconds:g} s")
            raise GoalFailed(runner.HANDLER_TIMEOUT, late) from error
        raise GoalFailed(reason_of(error), runner.failure(error)) from error
    finally:
        executor.measure(call.handler.kind, perf_counter() - began)


async def saved_and_run(place: Place, call: Call, checkpoints: Checkpoints) -> bytes:
    """Run the call, and let what it saved be written before anything is made of its end."""
    try:
        result = await place.run(call)
    except Exception:
        await checkpoints.written()
        raise
    await checkpoints.written()
    return result
