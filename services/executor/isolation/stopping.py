"""Asking a handler to stop, and waiting a while until it has."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from services.executor.call import Call
from services.executor.isolation.handoff import Outcome
from services.executor.reports.line import Report


async def ends_in_time(future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait until a future is done, at most so long, over every cancel."""
    until = monotonic() + seconds
    while not future.done() and (left := until - monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=left)
    return future.done()


async def ends_within_grace(future: asyncio.Future[Any], report: Report, *, killable: bool = False) -> bool:
    """Wait until a handler that was asked to stop is over, at most its grace.

    A further cancel only makes this look at the clock again: the grace may be shorter by then. One that is `killable`
    gets none once its mission has another owner.
    """
    since = monotonic()
    while not future.done():
        left = since + report.grace_s - monotonic()
        if left <= 0 or (killable and report.fenced):
            break
        with suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=left)
    return future.done()


class Answers:
    """The futures of calls whose handlers run in other threads. All of it on the service's loop."""

    def __init__(self) -> None:
        self.detached: Counter[str] = Counter()  #: calls that were given up and go on, by kind
        self._loop = asyncio.get_running_loop()
        self._stopping: dict[asyncio.Future[Any], asyncio.Future[None]] = {}

    def take(self, outcome: Outcome) -> None:
        """Complete the future of a call, unless it was given up; then its handler is over now."""
        future, result, error = outcome
        if future.done():
            over = self._stopping.get(future)
            if over is not None and not over.done():
                over.set_result(None)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    async def stop(self, call: Call, future: asyncio.Future[Any]) -> None:
        """Ask the handler of a call that is given up to stop, and wait until it is over or its grace is."""
        call.report.stop()
        over = self._stopping[future] = self._loop.create_future()
        if await ends_within_grace(over, call.report):
            del self._stopping[future]
            return
        call.report.detached = True
        self.detached[call.handler.kind] += 1
        over.add_done_callback(partial(self._is_over, future, call))

    def _is_over(self, future: asyncio.Future[Any], call: Call, _: asyncio.Future[None]) -> None:
        """Forget a handler that ended after all."""
        del self._stopping[future]
        call.report.detached = False
        self.detached[call.handler.kind] -= 1
