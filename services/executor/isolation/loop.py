"""Async handlers: an event loop of their own in a thread, so that one that blocks cannot stop heartbeats."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import structlog

from services.executor.asking import Asks, suspension
from services.executor.call import Call
from services.executor.isolation.handoff import Handoff, resolve
from services.runtime.process import new_event_loop

log = structlog.get_logger()


class HandlerLoop:
    """The handlers' event loop. `run` is called on the service's loop."""

    def __init__(self) -> None:
        self._service_loop = asyncio.get_running_loop()
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        self._loop = self._runner.get_loop()
        self._closing = asyncio.Event()
        self._outcomes = Handoff(self._service_loop, resolve, source=self._loop)
        self._calls = Handoff(self._loop, self._start, source=self._service_loop)
        self._tasks: dict[asyncio.Future[Any], asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._main, name="handlers", daemon=True)
        self._thread.start()

    async def reserve(self) -> None:
        """Coroutines need no room of their own."""

    async def run(self, call: Call) -> bytes:
        """Run a handler and return its result as JSON; cancelling this cancels the handler."""
        future: asyncio.Future[bytes] = self._service_loop.create_future()
        self._calls.put((call, future))
        try:
            return await future
        except asyncio.CancelledError:
            self._calls.put((None, future))
            raise

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
            task.cancel()

    async def _run(self, call: Call, future: asyncio.Future[Any]) -> None:
        """Run one handler; whatever it raises, even SystemExit, is its outcome and not the end of this loop."""
        try:
            self._outcomes.put((future, await call.run_async(), None))
        except BaseException as error:  # noqa: BLE001 - user code
            self._outcomes.put((future, None, contained(error)))
        finally:
            del self._tasks[future]


def contained(error: BaseException) -> Exception:
    """Turn what a future cannot carry (SystemExit, a handler's own cancel, StopIteration) into a plain exception.

    A question is an outcome of its own kind.
    """
    if suspended := suspension(error):
        return Asks(suspended.question)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return HandlerExit(f"{type(error).__name__}: {error}")


class HandlerExit(Exception):
    """The handler raised something that is meant to end a process or a task."""
