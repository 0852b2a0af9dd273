"""A handler under observation: it does what it does, and what becomes of each run is kept."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from contracts.errors import SetupError
from services.executor.context import Context
from services.executor.registry import Registry

Reported = tuple[float, float | None]


class ResultLost(Exception):
    """What the probe raises where a run is to look as if its owner had died before it could say what it did."""


class Probe:
    """Wraps a handler. Runs are counted in whatever thread they are."""

    def __init__(self, function: Callable[..., Any]) -> None:
        registry = Registry()
        try:
            registry.add(function)
        except AttributeError as error:
            raise SetupError(f'{function!r} is no goal: mark it with @goal("kind") from missions') from error
        (handler,) = registry
        if handler.isolation == "process":
            raise SetupError(
                f"{handler.kind} runs in a process of its own, which can be stopped whatever it does, and cannot be "
                "watched from here: check the same function under a kind without isolation"
            )
        self.kind = handler.kind
        self.handler = _wrapped(function, self)
        self.results: list[Any] = []
        self.progress: list[Reported] = []
        self.loses_results = 0  #: how many of the next results are lost
        self.begun_at = self.ended_at = 0.0  #: of the last run, on the monotonic clock
        self._running = 0
        self._changed = threading.Condition()
        self._begun = 0

    def clear(self) -> None:
        """Forget what was seen."""
        self.results, self.progress, self._begun = [], [], 0

    def await_begin(self, seconds: float) -> bool:
        """Wait until the handler runs, or has run; return whether it did."""
        with self._changed:
            return self._changed.wait_for(lambda: self._begun > 0, seconds)

    def await_end(self, seconds: float) -> bool:
        """Wait until no run is under way; return whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, seconds)

    @contextmanager
    def watching(self, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Count a run, and listen to the progress it reports."""
        for context in arguments[:1]:
            self._listen(context)
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def keep(self, result: Any) -> Any:
        """Keep a result, and return it, or lose it."""
        self.results.append(result)
        if self.loses_results > 0:
            self.loses_results -= 1
            raise ResultLost("the handler did its work, and nobody heard of it")
        return result

    def _count(self, change: int) -> None:
        with self._changed:
            self._running += change
            self._begun += change > 0
            if change > 0:
                self.begun_at = time.monotonic()
            else:
                self.ended_at = time.monotonic()
            self._changed.notify_all()

    def _listen(self, context: Context) -> None:
        said = context.progress

        def progress(done: float, total: float | None = None, *words: Any, **more: Any) -> None:
            self.progress.append((done, total))
            said(done, total, *words, **more)

        context.progress = progress  # type: ignore[method-assign]  # of this one try


def _wrapped(function: Callable[..., Any], probe: Probe) -> Callable[..., Any]:
    """Return a handler with the same signature, mark and place."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def watched_async(*arguments: Any, **params: Any) -> Any:
            with probe.watching(arguments):
                return probe.keep(await function(*arguments, **params))

        return watched_async

    @functools.wraps(function)
    def watched(*arguments: Any, **params: Any) -> Any:
        with probe.watching(arguments):
            return probe.keep(function(*arguments, **params))

    return watched
