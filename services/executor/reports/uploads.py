"""What one try at a goal keeps in the object store: stored while its handler runs, one after the other."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from contracts import artifacts
from contracts.errors import MissionsError
from services.executor.reports.line import Facts, Kept, Report
from services.executor.reports.spool import Spool
from services.runtime.objects import Objects

log = structlog.get_logger()


class NotKept(Exception):
    """An artifact could not be stored, so the try that made it has failed."""


class Uploads:
    """The artifacts of one try. Made on the service's loop; `begin` may be called from any thread."""

    def __init__(self, objects: Objects, spool: Spool) -> None:
        self._objects = objects
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Kept] = deque()
        self._report: Report | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._closed = False

    def of(self, facts: Facts) -> Report:
        """Return the report of the try, which hands over what its handler keeps."""
        self._report = Report(facts, self.begin)
        return self._report

    def begin(self, kept: Kept) -> None:
        """Store an artifact as soon as those before it are stored."""
        if self._closed:  # said by a handler that was given up
            self._spool.remove(kept.file)
            return
        self._waiting.append(kept)
        self._loop.call_soon_threadsafe(self._go_on)

    async def settled(self) -> None:
        """Wait until everything is stored, or cannot be."""
        self._go_on()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def finished(self) -> None:
        """Wait until everything is stored; raises `NotKept` where something could not be."""
        await self.settled()
        if self._error is not None:
            raise NotKept(f"{type(self._error).__name__}: {self._error}") from self._error

    def close(self) -> None:
        """Give up what is not stored yet."""
        self._closed = True
        self._report = None
        if self._task is not None:
            self._task.cancel()
        self._discard()

    def _go_on(self) -> None:
        if self._closed:
            self._discard()
        elif self._waiting and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        """Store what waits, in order, until something cannot be."""
        while self._waiting:
            kept = self._waiting.popleft()
            try:
                if self._error is None:
                    await self._store(kept)
            except (MissionsError, OSError, ValueError) as error:
                self._error = error
            finally:
                self._spool.remove(kept.file)

    async def _store(self, kept: Kept) -> None:
        report = self._report
        assert report is not None  # noqa: S101 - it is what calls `begin`
        name = artifacts.object_name(report.facts.mission_id, report.facts.goal_id, kept.artifact)
        await self._objects.put(name, kept.artifact, self._spool.file(kept.file))
        report.stored(kept.artifact)
        log.debug("artifact_stored", object=str(name), size_bytes=kept.artifact.size_bytes)

    def _discard(self) -> None:
        while self._waiting:
            self._spool.remove(self._waiting.popleft().file)
