"""The checkpoints of one try, on their way to a record: handed over from any thread, answered once they are stored."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from msgspec import Raw, Struct


class Checkpointed(Struct, frozen=True, tag=True):
    """What the handler saves for its next try, as JSON."""

    value: Raw


class NotSaved(Exception):
    """The checkpoint is not stored: the try is over, or the mission was stopped or has another owner."""


Save = tuple[Checkpointed, "Future[None]"]


class Saves:
    """What waits to be saved. `wake` is called, from any thread, when something does; closed, it refuses everything."""

    def __init__(self) -> None:
        self.wake: Callable[[], object] = lambda: None
        self._waiting: list[Save] = []
        self._closed = False
        self._lock = threading.Lock()

    def add(self, saved: Checkpointed) -> Future[None]:
        """Take what the handler saves: the future is done when the broker has it, or fails with `NotSaved`."""
        future: Future[None] = Future()
        future.add_done_callback(_heard)
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append((saved, future))
        if closed:
            settle([(saved, future)], NotSaved("this try is over"))
        else:
            self.wake()
        return future

    def take(self) -> list[Save]:
        """Return what is to be saved, oldest first."""
        if not self._waiting:
            return []
        with self._lock:
            saves, self._waiting = self._waiting, []
        return saves

    def close(self) -> None:
        """Refuse what waits, and whatever comes."""
        with self._lock:
            self._closed = True  # from now on nothing is added, so that taking once is enough
        settle(self.take(), NotSaved("this try is over"))


def settle(saves: list[Save], error: NotSaved | None) -> None:
    """Tell those who wait for their checkpoint what became of it."""
    for _, future in saves:
        with suppress(InvalidStateError):  # its handler waits no longer
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def _heard(future: Future[None]) -> None:
    """Take note of an error that nobody awaits: a checkpoint need not be waited for."""
    if not future.cancelled():
        future.exception()
