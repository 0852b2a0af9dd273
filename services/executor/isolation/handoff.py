"""Handing outcomes back to the service's loop: one wake-up for all that finished meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

Outcome = tuple["asyncio.Future[Any]", Any, "BaseException | None"]


class Handoff:
    """Passes items to a loop from any thread; waking a loop costs a system call, so it is done once per burst."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[Any], None]) -> None:
        self._loop = loop
        self._take = take
        self._items: deque[Any] = deque()
        self._woken = False

    def put(self, item: Any) -> None:
        """Pass an item; a loop that is closed already has nobody left who waits for it."""
        self._items.append(item)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._items.clear()

    def _drain(self) -> None:
        self._woken = False
        while self._items:
            self._take(self._items.popleft())


def resolve(outcome: Outcome) -> None:
    """Complete a future on its own loop, unless nobody waits any more."""
    future, result, error = outcome
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
