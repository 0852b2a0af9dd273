"""A try that did not succeed, and why: one reason for each way to fail."""

from __future__ import annotations

from contracts.messages import Failure
from services.executor import runner
from services.executor.context import QuestionExpired, Reject
from services.executor.reports.asking import Asks, suspension
from services.executor.reports.uploads import NotKept
from services.executor.result import BadResult, ResultTooLarge


class GoalFailed(Exception):
    """A try did not succeed; `reason` decides whether there is another one."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(f"{reason}: {failure.message}")
        self.reason = reason
        self.failure = failure


class HandlerExit(Exception):
    """The handler raised something that is meant to end a process or a task."""


class HandlerTraceback(Exception):
    """The traceback of a handler that ran in another process, as text."""


#: What raised inside the handler's place means; anything else is `handler_error`.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (QuestionExpired, runner.QUESTION_EXPIRED),
    (Reject, runner.HANDLER_REJECTED),
    (NotKept, runner.ARTIFACT_NOT_STORED),
    (BadResult, runner.BAD_RESULT),
    (ResultTooLarge, runner.RESULT_TOO_LARGE),
    (HandlerExit, runner.HANDLER_EXIT),
    (Exception, runner.HANDLER_ERROR),
)


def reason_of(error: BaseException) -> str:
    """Return the reason that a try which raised this has failed for."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), runner.HANDLER_EXIT)


def contained(error: BaseException) -> Exception:
    """Turn what a future cannot carry (SystemExit, a handler's own cancel, StopIteration) into a plain exception.

    A question is an outcome of its own kind.
    """
    if suspended := suspension(error):
        return Asks(suspended.question)
    if isinstance(error, StopIteration):
        return RuntimeError("the handler raised StopIteration")
    if isinstance(error, Exception):
        return error
    return HandlerExit(f"{type(error).__name__}: {error}")
