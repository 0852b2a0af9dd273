"""Sync handlers: daemon threads, so that one that never returns cannot keep the process from ending."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

from services.executor.isolation.handoff import Handoff, resolve
from services.executor.isolation.loop import contained

Call = Callable[[], Any]


class HandlerThreads:
    """Up to `limit` threads, started as they are needed. `run` is called on the service's loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._service_loop = asyncio.get_running_loop()
        self._outcomes = Handoff(self._service_loop, resolve)
        self._calls: queue.SimpleQueue[tuple[Call, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, call: Call) -> Any:
        """Run a handler and return its result; cancelling this leaves the thread to end by itself."""
        future = self._service_loop.create_future()
        if not self._idle.acquire(blocking=False) and self._started < self._limit:
            self._started += 1
            threading.Thread(target=self._main, name=f"handler-{self._started}", daemon=True).start()
        self._calls.put((call, future))
        return await future

    def close(self) -> None:
        """Let idle threads end; a thread that is busy ends with its handler or with the process."""
        for _ in range(self._started):
            self._calls.put(None)

    def _main(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            if not future.cancelled():
                self._work(call, future)
            self._idle.release()

    def _work(self, call: Call, future: asyncio.Future[Any]) -> None:
        try:
            self._outcomes.put((future, call(), None))
        except BaseException as error:  # noqa: BLE001 - user code
            self._outcomes.put((future, None, contained(error)))
