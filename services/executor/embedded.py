"""An executor inside another program: for a while, or in the background of a test or an ASGI app."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from contracts.errors import SetupError
from services.executor.importing import refuse_to_start
from services.executor.loading import load_registry
from services.executor.registry import Registry
from services.executor.service import serve
from services.runtime import settings as settings_module
from services.runtime.process import Stop
from services.runtime.settings import Settings

Goals = Sequence[Callable[..., Any]]


async def run_executor_with_timeout(seconds: float, *, goals: Goals = (), settings: Settings | None = None) -> None:
    """Run an executor on this event loop for `seconds`, then stop it in order.

    `goals` are functions marked with `@goal`, beside those that the settings name. What still runs at the end goes
    back to its queue. Raises `MissionsError` when the executor cannot start.
    """
    refuse_to_start("an executor")
    settings = settings or settings_module.load()
    stop = Stop()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await serve(settings, stop, _registry(settings, goals), http=False)


def start_executor_background(*, goals: Goals = (), settings: Settings | None = None) -> BackgroundExecutor:
    """Start an executor on an event loop of its own in a daemon thread, and return once it runs.

    Use it as a context manager, or call `stop()`. Raises `MissionsError` when it cannot start.
    """
    refuse_to_start("an executor")
    settings = settings or settings_module.load()
    executor = BackgroundExecutor(settings, _registry(settings, goals))
    executor.start()
    return executor


def _registry(settings: Settings, goals: Goals) -> Registry:
    registry = load_registry(settings.goals)
    for function in goals:
        registry.add(function)
    return registry


class BackgroundExecutor:
    """An executor in a thread. `stop` waits for it to hand back what still runs."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._thread = threading.Thread(target=self._main, name="missions-executor", daemon=True)
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Stop | None = None
        self._error: BaseException | None = None

    def start(self, seconds: float = 15.0) -> None:
        """Start, and wait until it consumes."""
        self._thread.start()
        if not self._begun.wait(seconds):
            self.stop()
            raise SetupError(f"the executor did not start within {seconds:g} s")
        if self._error is not None:
            raise self._error

    def stop(self, seconds: float = 10.0) -> None:
        """Stop in order; raises what ended it, if anything did."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> BackgroundExecutor:
        """Return the running executor."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again where it was started or stopped
            self._error = error
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), Stop()
        await serve(self._settings, self._stop, self._registry, http=False, on_ready=self._begun.set)
