"""Async handlers: an event loop of their own in a thread, so that one that blocks cannot stop heartbeats."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import structlog

from services.executor.call import Call
from services.executor.failing import contained
from services.executor.isolation.handoff import Handoff
from services.executor.isolation.stopping import Answers
from services.runtime.process import new_event_loop

log = structlog.get_logger()


class HandlerLoop:
    """The handlers' event loop. `run` is called on the service's loop."""

    def __init__(self) -> None:
        self._service_loop = asyncio.get_running_loop()
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._loop = self._runner.get_loop()
        self._closing = asyncio.Event()
        self._answers = Answers()
        self.detached = self._answers.detached
        self._outcomes = Handoff(self._service_loop, self._answers.take, source=self._loop)
        self._calls = Handoff(self._loop, self._start, source=self._service_loop)
        self._tasks: dict[asyncio.Future[Any], asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._main, name="handlers", daemon=True)
        self._thread.start()

    async def reserve(self) -> None:
        """Coroutines need no room of their own."""

    async def run(self, call: Call) -> bytes:
        """Run a handler and return its result as JSON; cancelling this cancels the handler, and waits its grace."""
        future: asyncio.Future[bytes] = self._service_loop.create_future()
        self._calls.put((call, future))
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._calls.put((None, future))
                await self._answers.stop(call, future)
            raise

    @property
    def thread_id(self) -> int:
        """The thread that the loop runs in."""
        return self._thread.ident or 0

    def ask(self, answer: Callable[[], object]) -> None:
        """Have the loop call this as soon as no handler blocks it."""
        self._loop.call_soon_threadsafe(answer)

    def close(self) -> None:
        """Cancel what still runs and end the loop, without waiting long for a handler that blocks it."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(timeout=1)

    def _main(self) -> None:
        """Run the loop until it is closed, also when a task that a handler left behind raises SystemExit in it."""
        with self._runner:
            while not self._closing.is_set():
                try:
                    self._runner.run(self._until_closed())
                except BaseException:
                    log.exception("handler_task_escaped")

    async def _until_closed(self) -> None:
        await self._closing.wait()

    def _start(self, item: tuple[Call | None, asyncio.Future[Any]]) -> None:
        call, future = item
        if call is not None:
            self._tasks[future] = self._loop.create_task(self._run(call, future))
        elif task := self._tasks.get(future):
            task.add_done_callback(lambda _: self._ended(future, None, None))  # it may never have begun
            task.cancel()
        else:
            self._ended(future, None, None)

    async def _run(self, call: Call, future: asyncio.Future[Any]) -> None:
        """Run one handler; whatever it raises, even SystemExit, is its outcome and not the end of this loop."""
        try:
            self._ended(future, await call.run_async(), None)
        except BaseException as error:  # noqa: BLE001 - user code
            self._ended(future, None, contained(error))

    def _ended(self, future: asyncio.Future[Any], result: bytes | None, error: Exception | None) -> None:
        self._tasks.pop(future, None)
        self._outcomes.put((future, result, error))
