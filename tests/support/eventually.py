"""The only wait of the tests: for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


@overload
async def eventually(condition: Callable[[], Awaitable[T | None]], within_s: float = 10) -> T: ...
@overload
async def eventually(condition: Callable[[], T | None], within_s: float = 10) -> T: ...
async def eventually(condition: Callable[[], Any], within_s: float = 10) -> Any:
    """Return the first truthy value of `condition`, sync or async, or fail with the last one it gave."""
    wait = _Wait(within_s)
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        await asyncio.sleep(wait.pause_or_fail(value))


def eventually_sync(condition: Callable[[], T | None], within_s: float = 10) -> T:
    """Do as `eventually` where no event loop runs."""
    wait = _Wait(within_s)
    while not (value := condition()):
        time.sleep(wait.pause_or_fail(value))
    return value


class _Wait:
    """Pauses that grow, up to a deadline."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._deadline = time.monotonic() + within_s
        self._pause_s = _FIRST_PAUSE_S

    def pause_or_fail(self, value: object) -> float:
        """Return how long to pause before the next look; raise `AssertionError` when the time is over."""
        __tracebackhide__ = True
        if time.monotonic() > self._deadline:
            raise AssertionError(f"not within {self._within_s} s; the last value was {value!r}")
        self._pause_s = min(self._pause_s * 1.5, _LONGEST_PAUSE_S)
        return self._pause_s
