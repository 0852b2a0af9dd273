"""Sync handlers: a daemon thread for each call, so that one that never returns holds up nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from services.executor.call import Call
from services.executor.failing import contained
from services.executor.isolation.handoff import Handoff
from services.executor.isolation.stopping import Answers


class HandlerThreads:
    """Up to `limit` calls at once. A call that was given up goes on in its thread, and counts no more."""

    def __init__(self, limit: int) -> None:
        self._service_loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(limit)
        self._answers = Answers()
        self.detached = self._answers.detached
        self._outcomes = Handoff(self._service_loop, self._answers.take)

    async def reserve(self) -> None:
        """Wait until a call may start; it must then be run."""
        await self._free.acquire()

    async def run(self, call: Call) -> bytes:
        """Run a handler and return its result as JSON; cancelling this waits its grace, then lets its thread be."""
        future: asyncio.Future[bytes] = self._service_loop.create_future()
        try:
            threading.Thread(target=self._work, args=(call, future), name="handler", daemon=True).start()
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                await self._answers.stop(call, future)
            raise
        finally:
            self._free.release()

    def close(self) -> None:
        """Let go: every thread ends with its handler, or with the process."""

    def _work(self, call: Call, future: asyncio.Future[Any]) -> None:
        try:
            self._outcomes.put((future, call.run(), None))
        except BaseException as error:  # noqa: BLE001 - user code
            self._outcomes.put((future, None, contained(error)))
