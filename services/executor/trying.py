"""One try at one goal: its handler, in its place, within its time."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from msgspec import Raw

from contracts.errors import ContractError, MissionsError
from contracts.messages import Failure, Goal
from services.executor import large, runner
from services.executor.call import Call
from services.executor.context import Reject
from services.executor.executor import Executor
from services.executor.line import Facts
from services.executor.ownership import Attempt
from services.executor.registry import Handler
from services.executor.result import BadResult, ResultTooLarge
from services.executor.uploads import NotKept, Uploads

log = structlog.get_logger()

#: What raised inside the handler's place means; anything else is `handler_error`.
_REASONS: dict[type[Exception], str] = {
    Reject: runner.HANDLER_REJECTED,
    BadResult: runner.BAD_RESULT,
    ResultTooLarge: runner.RESULT_TOO_LARGE,
    NotKept: runner.ARTIFACT_NOT_STORED,
}


class GoalFailed(Exception):
    """A try did not succeed; `reason` decides whether there is another one."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(f"{reason}: {failure.message}")
        self.reason = reason
        self.failure = failure


async def try_goal(goal: Goal, tries: int, handler: Handler, attempt: Attempt, executor: Executor) -> Raw:
    """Run the handler once and return its result as JSON; raises `GoalFailed`."""
    uploads = Uploads(executor.objects, executor.spool)
    report = uploads.of(facts_of(goal, tries, attempt, executor))
    call = Call(handler, goal.params, checked_params(goal, handler), report)
    seconds = goal.timeout_s or handler.timeout_s or executor.settings.goal_timeout_s
    await executor.places[handler.isolation].reserve()
    attempt.reports[goal.id] = report
    try:
        with executor.timed(goal.kind):
            result = await within(seconds, executor, call)
        return await kept(result, goal, attempt, executor, uploads)
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
        report.stop()
        uploads.close()
        del attempt.reports[goal.id]
        if told := report.take():
            attempt.last_words[goal.id] = told


async def kept(data: bytes, goal: Goal, attempt: Attempt, executor: Executor, uploads: Uploads) -> Raw:
    """Return the result once all that the try made is stored; raises `GoalFailed` where something cannot be."""
    try:
        await uploads.finished()
        return await large.inline(data, attempt.mission, goal, executor.objects)
    except (NotKept, MissionsError) as error:
        raise GoalFailed(runner.ARTIFACT_NOT_STORED, runner.failure(error)) from error


def facts_of(goal: Goal, tries: int, attempt: Attempt, executor: Executor) -> Facts:
    """Return what the handler of this try is told."""
    return Facts(
        mission_id=attempt.mission.mission_id,
        goal_id=goal.id,
        kind=goal.kind,
        attempt=tries,
        fence=attempt.ledger.fence,
        deadline=attempt.mission.deadline,
        spool=str(executor.spool.folder),
        artifact_bytes=executor.settings.artifact_bytes,
    )


def checked_params(goal: Goal, handler: Handler) -> dict[str, Any]:
    """Check the params once more, since what they name may be gone by now; raises `GoalFailed`."""
    try:
        return handler.validate(goal.params)
    except ContractError as error:
        raise GoalFailed(runner.BAD_PARAMS, runner.failure(error)) from error


async def within(seconds: float, executor: Executor, call: Call) -> bytes:
    """Run the call where its handler belongs; whatever it raises becomes `GoalFailed`, but for our own cancel."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await executor.places[call.handler.isolation].run(call)
    except Exception as error:
        if limit.expired():
            late = Failure(type="Timeout", message=f"{call.handler.kind} took longer than {seconds:g} s")
            raise GoalFailed(runner.HANDLER_TIMEOUT, late) from error
        raise GoalFailed(_reason(error), runner.failure(error)) from error


def _reason(error: Exception) -> str:
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), runner.HANDLER_ERROR)
