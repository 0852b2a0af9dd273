"""What a journal needs beside being written: damage repaired, full segments read again, compressed, dropped in time."""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec
import structlog

from contracts.errors import BrokerError, NotAppended, WriteError
from contracts.topology import MISSIONS
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import rfc3339
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.whiteboard import repair, retention
from services.whiteboard.compression import compress
from services.whiteboard.index import Index
from services.whiteboard.ingest import Ingest
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note
from services.whiteboard.retention import Keep
from services.whiteboard.segment_files import Segment

log = structlog.get_logger()

_DONE = object()

_EVERY_S = 2.0
#: What could not be repaired is tried again after this long, and a full segment is read whole once in a day.
_REPAIR_AGAIN_S = 60.0
_READ_AGAIN_S = 86_400.0
#: Reading a file whole costs a second of the processor: so long it is left to others in between.
_READ_PAUSE_S = 30.0


class Rules(msgspec.Struct, frozen=True):
    """How a journal is kept."""

    keep: Keep = Keep()
    compress: bool = False


class Care:
    """Looks after a journal while it is written. What changes the end of the journal is done between two batches."""

    def __init__(
        self, journal: Journal, index: Index, ingest: Ingest, bus: Bus, metrics: Metrics, rules: Rules
    ) -> None:
        self._journal = journal
        self._index = index
        self._ingest = ingest
        self._bus = bus
        self._rules = rules
        self._read_last = 0.0
        self._read_at: dict[str, float] = {}
        self._gave_up_at: dict[str, float] = {}
        self._repaired = metrics.counter("whiteboard_repaired", "Segments repaired from the stream")

    async def run(self, stop: Stop) -> None:
        """Go round until `stop`. What goes wrong here stops nobody: it is logged, and tried again."""
        while not await stop.wait(_EVERY_S):
            for part in (self._repair, self._read_again, self._compress, self._drop):
                try:
                    await part()
                except (OSError, NotAppended, ApiError, WriteError, BrokerError) as error:
                    log.warning("journal_care_failed", what=part.__name__.strip("_"), error=str(error))

    async def _repair(self) -> None:
        if self._journal.position.bad:
            await self._ingest.between_batches(self._journal.seal)
        for part in self._journal.files.suspects:
            if monotonic() < self._gave_up_at.get(part.name, -_REPAIR_AGAIN_S) + _REPAIR_AGAIN_S:
                continue
            if part in self._journal.files.suspects:  # else it was repaired together with the one before
                await self._mend(part)

    async def _mend(self, part: Segment) -> None:
        mended = await repair.mend(self._journal.files, part, self._fetch, asyncio.to_thread)
        if mended.whole:
            self._repaired.inc()
        else:
            self._gave_up_at[part.name] = monotonic()
            log.error("segment_not_repaired", segment=part.name)
        if mended.first <= mended.last:
            await self._ingest.between_batches(lambda: self._index.expect(self._journal, mended.first, mended.last))

    async def _fetch(self, seq: int) -> Note | None:
        stored = await self._bus.message(MISSIONS, seq)
        return Note(stored.seq, rfc3339(stored.time_ns), stored.subject, stored.data) if stored else None

    async def _read_again(self) -> None:
        """Read one full segment whole, if it is time."""
        due = self._due() if monotonic() > self._read_last + _READ_PAUSE_S else None
        if due is not None:
            await asyncio.to_thread(repair.is_whole, self._journal.files, due)
            self._read_at[due.name] = self._read_last = monotonic()

    def _due(self) -> Segment | None:
        before = monotonic() - _READ_AGAIN_S
        return next(
            (part for part in self._journal.files.sealed if self._read_at.get(part.name, before) <= before), None
        )

    async def _compress(self) -> None:
        """Compress one full segment that was read and found whole."""
        if not self._rules.compress:
            return
        suspects = self._journal.files.suspects
        for part in self._journal.files.sealed:
            if not part.is_packed and part.name in self._read_at and part not in suspects:
                await asyncio.to_thread(compress, self._journal.files, part)
                return

    async def _drop(self) -> None:
        """Drop the oldest segment if it has to go: folded here, dropped between two batches, forgotten between more."""
        if self._journal.files.carried_damaged:
            await asyncio.to_thread(self._journal.files.mend_carried)
        await self._forget()
        part = await asyncio.to_thread(retention.due, self._journal, self._rules.keep)
        if part is None:
            return
        fold = await asyncio.to_thread(retention.fold_through, self._journal, part)
        if fold is None:
            log.error("segment_kept", segment=part.name, reason="it is damaged: without it views would be wrong")
            return
        await self._ingest.between_batches(lambda: self._drop_now(fold))
        await self._forget()

    async def _forget(self) -> None:
        steps = self._index.forget(self._journal)
        while await self._ingest.between_batches(lambda: next(steps, _DONE)) is not _DONE:
            pass

    def _drop_now(self, fold: retention.Fold) -> None:
        if self._index.last_seq == self._journal.last_seq:  # or nobody knows what was said after the cut
            retention.drop(self._journal, fold, self._index.living(fold.head.last_seq))
