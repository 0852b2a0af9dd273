"""One try at one goal: its handler, in its place, within its time, and what it returned as JSON."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from msgspec import Raw
from pydantic_core import to_jsonable_python

from contracts import codec
from contracts.errors import ContractError, TooLarge
from contracts.messages import Failure, Goal
from services.executor import runner
from services.executor.context import Context, Reject
from services.executor.executor import Executor
from services.executor.ownership import Attempt
from services.executor.registry import Handler

#: A record holds the result twice at most, and must stay below what a message may have.
MAX_RESULT_BYTES = 96 * 1024
#: Records, views and answers put a result some levels further down, and every reader limits the depth.
MAX_RESULT_DEPTH = codec.MAX_DEPTH - 8


class GoalFailed(Exception):
    """A try did not succeed; `reason` decides whether there is another one."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(f"{reason}: {failure.message}")
        self.reason = reason
        self.failure = failure


async def try_goal(goal: Goal, tries: int, handler: Handler, attempt: Attempt, executor: Executor) -> Raw:
    """Run the handler once and return its result as JSON; raises `GoalFailed`."""
    context = Context(
        mission_id=attempt.mission.mission_id,
        goal_id=goal.id,
        kind=goal.kind,
        attempt=tries,
        fence=attempt.ledger.fence,
        deadline=attempt.mission.deadline,
    )
    arguments = checked_params(goal, handler)
    positional = (context,) if handler.wants_context else ()
    seconds = goal.timeout_s or handler.timeout_s or executor.settings.goal_timeout_s
    await executor.places[handler.isolation].reserve()
    attempt.contexts[goal.id] = context
    try:
        with executor.timed(goal.kind):
            result = await within(seconds, executor, handler, partial(handler.function, *positional, **arguments))
    except GoalFailed as failed:
        context.log.warning("goal_failed", kind=goal.kind, reason=failed.reason, exc_info=failed.__cause__)
        raise
    finally:
        context.stop()
        del attempt.contexts[goal.id]
    return encoded(result)


def checked_params(goal: Goal, handler: Handler) -> dict[str, Any]:
    """Check the params once more, since what they name may be gone by now; raises `GoalFailed`."""
    try:
        return handler.validate(goal.params)
    except ContractError as error:
        raise GoalFailed(runner.BAD_PARAMS, runner.failure(error)) from error


async def within(seconds: float, executor: Executor, handler: Handler, call: partial[object]) -> object:
    """Run the call where its handler belongs; whatever it raises becomes `GoalFailed`, but for our own cancel."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await executor.places[handler.isolation].run(call)
    except Reject as error:
        raise GoalFailed(runner.HANDLER_REJECTED, runner.failure(error)) from error
    except Exception as error:
        if limit.expired():
            late = Failure(type="Timeout", message=f"{handler.kind} took longer than {seconds:g} s")
            raise GoalFailed(runner.HANDLER_TIMEOUT, late) from error
        raise GoalFailed(runner.HANDLER_ERROR, runner.failure(error)) from error


def encoded(result: object) -> Raw:
    """Write a result as JSON: what msgspec knows, and pydantic models; raises `GoalFailed` for anything else."""
    try:
        data = _as_json(result)
        codec.check_limits(data, MAX_RESULT_DEPTH)
        codec.decode_any(data)  # an object may write itself, and badly
    except TooLarge as error:
        raise _too_large(str(error)) from error
    except ContractError as error:
        raise _bad_result(error) from error
    if len(data) > MAX_RESULT_BYTES:
        raise _too_large(f"the result has {len(data)} bytes, {MAX_RESULT_BYTES} are allowed")
    return Raw(data)


def _as_json(result: object) -> bytes:
    try:
        return codec.encode(result)
    except TooLarge:
        raise
    except ContractError:
        return _by_pydantic(result)


def _too_large(message: str) -> GoalFailed:
    failure = Failure(type="ResultTooLarge", message=f"{message}: store it and return where it is")
    return GoalFailed(runner.RESULT_TOO_LARGE, failure)


def _by_pydantic(result: object) -> bytes:
    try:
        return codec.encode(to_jsonable_python(result))
    except TooLarge:
        raise
    except Exception as error:
        raise _bad_result(error) from error


def _bad_result(error: Exception) -> GoalFailed:
    failure = runner.described("BadResult", f"the result cannot be written as JSON: {runner.failure(error).message}")
    return GoalFailed(runner.BAD_RESULT, failure)
