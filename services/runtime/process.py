"""Process life: one owner of signals; everything else watches one `Stop`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from contracts.errors import MissionsError
from services.runtime import logs
from services.runtime.settings import Settings, load

log = structlog.get_logger()

#: SIGKILL comes after 10 s in most deployments; what is not over by then is abandoned. Only handlers may have longer.
STOP_WITHIN_S = 5.0
SECOND_SIGNAL_EXIT = 130
#: While another thread computes, whoever waits for anything waits so long for the interpreter as well: the event loop
#: at each message, a question at each row that SQLite finds. Python's own 5 ms made 3 ms of work into 300.
_SWITCH_S = 0.0005

Service = Callable[[Settings, "Stop"], Awaitable[None]]


class Stop:
    """The wish to end, said once, seen by every part of a process."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ask everything to end."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the wish, at most `seconds`; return whether it came."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True


def run(service: Service, settings: Settings, name: str) -> int:
    """Run a service until it ends or a signal comes; return the exit code.

    The first SIGTERM or SIGINT asks it to stop, and it gets `STOP_WITHIN_S`; the second ends the process at once.
    """
    logs.configure(name, settings)
    _tame_garbage_collector()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_supervised(service, settings, max(STOP_WITHIN_S, settings.stop_grace_s + 2)))
    except* MissionsError as group:
        error = first_error(group)
        log.error("service_failed", error=str(error))  # noqa: TRY400 - it is understood: a traceback says less
        code = error.exit_code if isinstance(error, MissionsError) else 70
    return code


def main(service: Service, name: str) -> int:
    """Run a service on the settings of the environment: the body of each `__main__`."""
    try:
        settings = load()
    except MissionsError as error:
        sys.stderr.write(f"missions {name}: {error}\n")
        return error.exit_code
    return run(service, settings, name)


async def run_parts(stop: Stop, *parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts of a service side by side; a part that ends or fails stops all of them."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(_stopping(part, stop))


def first_error(group: BaseException) -> BaseException:
    """Return the first plain exception in nested groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _stopping(part: Coroutine[Any, Any, None], stop: Stop) -> None:
    try:
        await part
    finally:
        stop.set()


async def _supervised(service: Service, settings: Settings, stop_within_s: float) -> int:
    stop = Stop()
    _own_signals(stop)
    work = asyncio.ensure_future(service(settings, stop))
    wish = asyncio.ensure_future(stop.wait())
    await asyncio.wait({work, wish}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        await asyncio.wait({work}, timeout=stop_within_s)
    if not work.done():
        log.error("stop_overdue", seconds=stop_within_s)
        os._exit(1)
    wish.cancel()
    await work
    return 0


def _tame_garbage_collector() -> None:
    """Collect less often: what services make in a burst lives for milliseconds and is freed by reference counts."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _own_signals(stop: Stop) -> None:
    def on_signal() -> None:
        if stop.is_set():
            os._exit(SECOND_SIGNAL_EXIT)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop of the fastest kind there is here."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - not on Windows

    return uvloop.new_event_loop()
