"""An executor in the test's own process, on a queue of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from contracts.errors import SetupError
from services.executor.embedded import BackgroundExecutor, start_executor_background
from services.runtime.settings import load

Handlers = Callable[..., Any]


class LocalExecutor:
    """Serves one queue with the goals of the stack and those of one test, from its first use on."""

    def __init__(self, nats_url: str, queue: str, goals: tuple[str, ...]) -> None:
        self._settings = load(nats_url=nats_url, queues=(queue,), goals=goals, lease_s=2.0, stop_grace_s=0.0)
        self._running: BackgroundExecutor | None = None
        self._logs_plainly = False

    @property
    def used(self) -> bool:
        """Whether it was ever started."""
        return self._running is not None

    def start(self, *handlers: Handlers) -> None:
        """Start it; raises `SetupError` where it runs already and is given more goals."""
        if self._running is None:
            self._logs_plainly = _log_plainly()
            self._running = start_executor_background(goals=handlers, settings=self._settings)
        elif handlers:
            raise SetupError("serve(…) comes first: something was said already, so its executor runs")

    def stop(self) -> None:
        """End it; what still runs is handed back."""
        if self._running is not None:
            self._running.stop()
        if self._logs_plainly:
            structlog.reset_defaults()


def _log_plainly() -> bool:
    """Let what the executor logs be read in a test's output; return False where the process has its own way to log."""
    ours = not structlog.is_configured()
    if ours:
        render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, render]
        )
    return ours
