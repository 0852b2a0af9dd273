"""An event loop in a thread of its own, so that a test without one can use what is async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from contracts.errors import MissionsError

T = TypeVar("T")

_END_WITHIN_S = 5.0


class Portal:
    """Runs coroutines on its own loop, from any thread but that loop's."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="missions-testing", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end and return what it returns; whatever ends the waiting, such as Ctrl-C, cancels it."""
        __tracebackhide__ = True
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except MissionsError as error:
            raise error.with_traceback(None)  # noqa: B904 - it says what is wrong; a test shows where it was asked for
        except BaseException:
            future.cancel()
            raise

    def soon(self, act: Callable[[], object]) -> None:
        """Have it done on the loop, as its next thing."""
        self._loop.call_soon_threadsafe(act)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_WITHIN_S)
        self._loop.close()


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop of its own, whether or not one runs in this thread; return what it returns."""
    portal = Portal()
    try:
        return portal.call(work)
    finally:
        portal.close()
