"""Handing items to another thread's event loop: waking a loop is a system call, so a burst wakes it once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

Outcome = tuple["asyncio.Future[Any]", Any, "BaseException | None"]


class Handoff:
    """Passes items to the loop `to`, where `take` gets them one by one.

    With `source`, items are put on that loop, and all of one turn of it travel together; without, from any thread.
    """

    def __init__(
        self,
        to: asyncio.AbstractEventLoop,
        take: Callable[[Any], None],
        source: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._to = to
        self._take = take
        self._source = source
        self._items: deque[Any] = deque()
        self._scheduled = False

    def put(self, item: Any) -> None:
        """Pass an item."""
        self._items.append(item)
        if self._scheduled:
            return
        self._scheduled = True
        if self._source is None:
            self._wake()
        else:
            self._source.call_soon(self._wake)

    def _wake(self) -> None:
        try:
            self._to.call_soon_threadsafe(self._drain)
        except RuntimeError:  # that loop is closed: nobody is left who waits
            self._items.clear()

    def _drain(self) -> None:
        self._scheduled = False
        while self._items:
            self._take(self._items.popleft())
