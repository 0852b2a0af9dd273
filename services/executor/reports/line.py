"""The line between a handler and its executor: what it is told at its start, and what it says while it runs.

A handler in this process speaks into a `Report` directly; one in a process of its own speaks into a socket, at whose
other end the same `Report` listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from time import monotonic
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from contracts.messages import Answer, Artifact, GoalStatus, LogLine, Progress
from services.executor.reports.logged import LogBuffer
from services.executor.reports.pace import Pace
from services.executor.reports.saves import Checkpointed, Saves


class Progressed(Struct, frozen=True, tag=True):
    """How far the handler is."""

    progress: Progress


class Logged(Struct, frozen=True, tag=True):
    """A line that the handler logged."""

    line: LogLine


class Kept(Struct, frozen=True, tag=True):
    """An artifact that waits in the spool, as the file of this name, to be stored."""

    artifact: Artifact
    file: str


#: Everything a handler can say while it runs, `Checkpointed` apart: tagged, so that it crosses a socket as JSON.
Said = Progressed | Logged | Kept


class Facts(Struct, frozen=True, kw_only=True):
    """What a handler is told about its try."""

    mission_id: str
    goal_id: str
    kind: str
    attempt: int
    fence: int
    deadline: datetime | None = None
    checkpoint: Any = None  #: what an earlier try saved last
    answers: tuple[Answer, ...] = ()  #: to what earlier tries asked
    spool: str = ""  #: what the paths begin with where its artifacts wait to be stored
    artifact_bytes: int = 0  #: the largest artifact


class Line(Protocol):
    """A handler's end of the line; usable from any thread."""

    @property
    def stopped(self) -> bool:
        """Whether the handler was asked to stop."""

    def tell(self, said: Said) -> None:
        """Say something to the executor, without waiting for it."""

    def save(self, saved: Checkpointed) -> Future[None]:
        """Say what must be kept: the future is done when the broker has it, or fails with `NotSaved`."""

    def wait(self, saving: Future[None]) -> None:
        """Wait, blocking this thread, until what `save` returned is done; raises `NotSaved`."""


class Told(Struct, frozen=True):
    """What a handler said that no record holds yet."""

    progress: Progress | None = None
    artifacts: tuple[Artifact, ...] = ()
    log: tuple[LogLine, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return bool(self.progress or self.artifacts or self.log)

    def in_status(self, status: GoalStatus) -> GoalStatus:
        """Return the goal's part of a record, with all of this in it."""
        progress = self.progress or status.progress
        return msgspec.structs.replace(status, progress=progress, artifacts=self.artifacts, log=self.log)


_NOTHING = Told()


class Report:
    """The executor's end: keeps what was said until it is written. All of it may be used from any thread."""

    def __init__(self, facts: Facts, keep: Callable[[Kept], None] | None = None) -> None:
        self.facts = facts
        self.stopped = False
        #: when something of it was last written, to let the goals of a mission take turns
        self.written_at = monotonic()
        self._keep = keep
        self._lock = threading.Lock()
        self._spoke = False  #: most handlers never do: they cost nothing more
        self._progress: Progress | None = None
        self._pace = Pace()
        self._artifacts: dict[str, Artifact] = {}  #: by name: one that is kept again is named once
        self._log = LogBuffer()
        self.saves = Saves()
        self.grace_s = 0.0  #: how long the handler may take to stop once it was asked to
        self.fenced = False  #: the mission has another owner: nothing that this handler does may follow
        self.detached = False  #: it was given up, and goes on all the same

    def tell(self, said: Said) -> None:
        """Take what the handler says."""
        if isinstance(said, Kept):
            if self._keep is not None:
                self._keep(said)
            return
        with self._lock:
            self._spoke = True
            if isinstance(said, Progressed):
                self._progress = said.progress
                self._pace.reached(said.progress.done, monotonic())
            else:
                self._log.add(said.line)

    def save(self, saved: Checkpointed) -> Future[None]:
        """Take what the handler saves."""
        return self.saves.add(saved)

    def wait(self, saving: Future[None]) -> None:
        """Wait until it is stored."""
        saving.result()

    def stored(self, artifact: Artifact) -> None:
        """Take note that an artifact is stored whole: from now on a record may name it."""
        with self._lock:
            self._spoke = True
            self._artifacts[artifact.name] = artifact

    def stop(self) -> None:
        """Ask the handler to stop; what it saves from now on is refused."""
        self.stopped = True
        self.saves.close()

    @property
    def has_progressed(self) -> bool:
        """Whether there is news that is worth a record of its own."""
        return self._progress is not None

    def take(self) -> Told:
        """Return what was said since the last call, and every artifact that is not known to be written.

        An artifact twice in the records is one artifact; one that none of them names is lost.
        """
        if not self._spoke:
            return _NOTHING
        with self._lock:
            progress, self._progress = self._progress, None
            told = Told(self._with_eta(progress), tuple(self._artifacts.values()), self._log.take())
        self.written_at = monotonic()
        return told

    def written(self, told: Told) -> None:
        """Take note that a record holds this."""
        with self._lock:
            for artifact in told.artifacts:
                if self._artifacts.get(artifact.name) == artifact:
                    del self._artifacts[artifact.name]

    def put_back(self, told: Told) -> None:
        """Keep what could not be written for the next record."""
        with self._lock:
            self._progress = self._progress or told.progress
            self._log.put_back(told.log)

    def _with_eta(self, progress: Progress | None) -> Progress | None:
        if progress is None or progress.total is None:
            return progress
        return msgspec.structs.replace(progress, eta_s=self._pace.seconds_to(progress.total, monotonic()))
