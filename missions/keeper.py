"""Keeps a process alive: starts it again when it ends, with pauses that grow."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from contracts.errors import MissionsError, SetupError

_LONGEST_PAUSE_S = 10.0
#: Who lived this long did not fail at its start: the pauses begin anew.
_STEADY_S = 10.0
_POLL_S = 0.02

#: Takes note of what happens to a process: a constant name and values, as a logger does.
OnEvent = Callable[..., None]


class Process(Protocol):
    """What is kept: a `ServiceProcess` or a `NatsServer`."""

    @property
    def running(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    def how_it_ended(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Keeper:
    """One process and the thread that starts it and waits for its end.

    It is one thread, because a child of ours ends with the thread that started it.
    """

    def __init__(self, name: str, process: Process, on_event: OnEvent, first_pause_s: float = 0.5) -> None:
        self.crashes = 0  #: since it was last started on purpose
        self._name = name
        self._process = process
        self._on_event = on_event
        self._first_pause_s = first_pause_s
        self._starts = 0
        self._failure: MissionsError | None = None
        self._changed = threading.Condition()
        self._released = False
        self._asked = False  #: whether the next end is one that was asked for
        self._held = False
        self._at_once = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)

    def start(self) -> None:
        """Start the process and keep it from now on; raises what its first start raised."""
        self._thread.start()
        self._await_start(0)

    def kill(self, *, stay_down: bool = False) -> None:
        """Crash the process; it comes back after a pause, or with `stay_down` only by `restart`."""
        self._held = stay_down
        self._process.kill()

    def restart(self) -> None:
        """End the process if it runs, and have it started at once; raises what its start raised."""
        before, self._failure = self._starts, None
        self._held, self._asked, self.crashes = False, True, 0
        self._process.stop()
        self._at_once.set()
        self._await_start(before)

    def release(self) -> None:
        """Keep the process no longer: its next end is the last."""
        self._released = True
        self._at_once.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end of a released process, at most `seconds`; return whether it came."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _await_start(self, before: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._starts > before or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    def _keep(self) -> None:
        pause = self._first_pause_s
        while not self._released:
            self._asked = False
            began = time.monotonic()
            if self._start(pause):
                wait_for_end(self._process)
                pause = self._first_pause_s if time.monotonic() - began > _STEADY_S else pause
                self._note_end(pause)
            elif not self._starts:
                return
            if not self._at_once.wait(pause) and self._held:
                self._at_once.wait()
            self._at_once.clear()
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _start(self, pause: float) -> bool:
        """Start the process; return whether it did."""
        try:
            self._process.start()
        except MissionsError as error:
            self._tell(error)
            if self._starts:
                self._on_event("process_not_started", process=self._name, error=str(error), again_in_s=pause)
            return False
        self._tell(None)
        if self._released:
            self._process.stop()  # the wish to end came while it was being started
        return True

    def _tell(self, failure: MissionsError | None) -> None:
        with self._changed:
            self._failure = failure
            self._starts += failure is None
            self._changed.notify_all()

    def _note_end(self, pause: float) -> None:
        if not (self._asked or self._released):
            self.crashes += 1
            again_in_s = None if self._held else pause
            self._on_event("process_ended", process=self._name, how=self._process.how_it_ended(), again_in_s=again_in_s)


def wait_for_end(process: Process) -> None:
    """Wait until the process is over, without taking its exit code from its owner."""
    with suppress(ChildProcessError, SetupError, AttributeError):  # gone already, or a system without waitid
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    while process.running:
        time.sleep(_POLL_S)


def warn(event: str, **values: Any) -> None:
    """Log on stderr, whatever this process configured: stdout is for data."""
    import structlog  # noqa: PLC0415 - takes a third of a second, for what seldom happens

    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR")),
        ],
    )
    logger.warning(event, **values)
