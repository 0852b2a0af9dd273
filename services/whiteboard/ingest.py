"""A batch: append, fdatasync, index, wake the feed. The journal is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

import msgspec
import structlog

from contracts.errors import BrokerError, NotAppended, WriteError
from services.runtime.bus import ApiError, Bus
from services.runtime.health import Health
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.whiteboard.feed import Feed
from services.whiteboard.index import Applied, Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note, Record
from services.whiteboard.room import Room
from services.whiteboard.source import Source
from services.whiteboard.truth import Fork, Renewed
from services.whiteboard.unreadable import Unreadable
from services.whiteboard.witness import Witness

log = structlog.get_logger()

BATCH = 1_000
#: Where more than this came at once, the next few milliseconds' worth shares the same write, sync and transaction.
_BUSY = 16
_GATHER_S = 0.005
_LOOK_EVERY_S = 1.0
_AGAIN_S = 2.0
#: So many looks in a row without a record, although the stream has more, are no matter of a lost delivery.
_STUCK_LOOKS = 5
_STUCK = (
    "nothing arrives although the stream is ahead; is another whiteboard reading consumer whiteboard?"
    " Stop it: one whiteboard belongs to one stream"
)

Result = TypeVar("Result")


class Ingest:
    """Copies the MISSIONS stream into the journal, in order and without a hole, and brings the index along.

    One batch is written in a thread while the next is fetched. What has to be decided about order and truth is
    decided while no batch is under way, so that the journal's position is exact.
    """

    def __init__(  # noqa: PLR0913 - the parts of a whiteboard
        self,
        bus: Bus,
        journal: Journal,
        index: Index,
        feed: Feed,
        health: Health,
        metrics: Metrics,
        *,
        room: Room | None = None,
    ) -> None:
        self._journal = journal
        self._index = index
        self._feed = feed
        self._health = health
        self._room = room or Room(journal.folder)
        self._source = Source(bus)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._under_way: asyncio.Future[None] | None = None
        self._looked_at = 0.0
        self._measured_at = 0.0
        self._damaged = 0  #: how many bad lines were known at the last look
        self._stuck_at = -1  #: the journal's last sequence at the last look, if the stream had more
        self._stuck_looks = 0
        self._stream_seq: int | None = None  #: the stream's last sequence at the last look
        self._records = metrics.counter("whiteboard_records", "Records journalled")
        self._witness = Witness(journal, health, self._note)
        self._unreadable = Unreadable(bus, metrics)
        self._seconds = metrics.histogram("whiteboard_batch_seconds", "Append, sync and index one batch")
        metrics.gauge("whiteboard_seq", "Last sequence journalled").set_function(lambda: journal.last_seq)
        metrics.gauge("whiteboard_lag", "Records of the stream not journalled").set_function(lambda: self.lag or 0)
        metrics.gauge("whiteboard_gaps", "Times that the stream lost records").set_function(lambda: index.head.gaps)
        metrics.gauge("whiteboard_forks", "Times that the stream was another").set_function(lambda: index.head.forks)
        metrics.gauge("whiteboard_damaged_lines", "Bad lines known").set_function(lambda: journal.damaged)
        metrics.gauge("whiteboard_journal_bytes", "Size of the journal").set_function(lambda: journal.size_bytes)
        metrics.gauge("whiteboard_free_bytes", "Room on its disk").set_function(lambda: self._room.free_bytes)
        metrics.gauge("whiteboard_readers", "Open event streams").set_function(lambda: feed.readers)
        health.expect("journal")
        health.expect("stream")

    @property
    def lag(self) -> int | None:
        """How far the journal is behind the stream as it was a second ago; None while nobody knows."""
        return None if self._stream_seq is None else max(0, self._stream_seq - self._journal.last_seq)

    async def run(self, stop: Stop) -> None:
        """Copy until `stop`; raises `JournalError` when only a new start can help."""
        try:
            await self._catch_up(stop)
            await self._source.open()
            while not stop.is_set():
                await self._turn(stop)
            await self._settle()
        finally:
            await self._source.close()

    def close(self) -> None:
        """Let go of the thread, once nobody writes any more."""
        self._thread.shutdown()

    async def between_batches(self, call: Callable[[], Result]) -> Result:
        """Run what changes the journal or the index in the thread that writes them."""
        return await self._in_thread(call)

    def wake(self) -> None:
        """Let it see at once that the end was asked for."""
        self._source.wake()

    async def _catch_up(self, stop: Stop) -> None:
        """Bring the index up to the journal, however long there is no room for it."""
        self._health.red("journal", "the index is being brought up to date")
        while not stop.is_set():
            try:
                await self._index_missing(stop)
            except NotAppended as error:
                self._refused(error)
                await stop.wait(_AGAIN_S)
            else:
                self._journal_works()
                return

    async def _index_missing(self, stop: Stop) -> None:
        missing = self._index.missing(self._journal)
        while not stop.is_set() and (records := await self._in_thread(lambda: next(missing, None))):
            applied = await self._in_thread(lambda batch=records: self._index.apply(batch))  # type: ignore[misc]
            self._feed.publish(records, applied.changed.values())

    async def _turn(self, stop: Stop) -> None:
        """Fetch while the batch before is written, then write what follows on it."""
        if await self._is_short(stop):
            return
        if not self._source.is_aligned:
            await self._align(stop)
            return
        messages = await self._source.fetch(BATCH)
        if len(messages) > _BUSY:
            await asyncio.sleep(_GATHER_S)
        settled = await self._settle()
        messages += await self._source.more(BATCH - len(messages))
        if not settled:
            self._source.misfit()
            await stop.wait(_AGAIN_S)
            await self._align(stop)
            return
        if fresh := self._in_order(messages):
            self._under_way = asyncio.ensure_future(self._store(fresh))
        elif messages:
            self._source.misfit()
        if monotonic() > self._looked_at + _LOOK_EVERY_S:
            await self._look(idle=not messages)

    async def _is_short(self, stop: Stop) -> bool:
        """Take nothing while the disk is short of room; what is under way still gets what is left."""
        if not self._room.shortage and monotonic() <= self._measured_at + _LOOK_EVERY_S:
            return False
        self._measured_at = monotonic()
        if not self._room.look():
            self._health.green("disk")
            return False
        self._health.red("disk", self._room.shortage)
        await self._settle()
        await stop.wait(_LOOK_EVERY_S)
        return True

    def _in_order(self, messages: list[Incoming]) -> list[Note]:
        """Return what follows on the journal; repeats are passed over, and so is what lies beyond a hole."""
        expected = self._journal.last_seq + 1
        fresh = []
        for message in messages:
            if message.seq == expected:
                fresh.append(Note(expected, message.time, message.subject, message.data))
                expected += 1
        return fresh

    async def _store(self, fresh: list[Note]) -> None:
        with self._seconds.time():
            records, applied = await self._in_thread(lambda: self._append(fresh))
        self._journal_works()
        self._feed.publish(records, applied.changed.values())
        await self._unreadable.point_out(applied.unreadable)

    def _append(self, fresh: list[Note]) -> tuple[list[Record], Applied]:
        records = self._journal.append(fresh)
        self._records.inc(len(records))
        return records, self._index.apply(records)

    async def _settle(self) -> bool:
        """Wait for the batch under way; return whether it is stored."""
        under_way, self._under_way = self._under_way, None
        try:
            if under_way is not None:
                await under_way
        except NotAppended as error:
            self._refused(error)
            return False
        return True

    def _refused(self, error: NotAppended) -> None:
        self._room.release()
        self._health.red("journal", str(error))
        log.warning("journal_refuses", error=str(error))

    async def _align(self, stop: Stop) -> None:
        """Set the consumer behind the journal, or record why the stream cannot be followed."""
        settled = await self._settle()
        if settled and self._index.last_seq >= self._journal.last_seq:
            try:
                await self._follow(stop)
            except NotAppended as error:
                self._refused(error)
                settled = False
        if not settled:
            await stop.wait(_AGAIN_S)
        if self._index.last_seq < self._journal.last_seq:
            await self._catch_up(stop)

    async def _follow(self, stop: Stop) -> None:
        try:
            verdict = await self._source.align(self._journal)
        except (ApiError, BrokerError, WriteError) as error:
            self._health.red("stream", f"cannot look at the stream: {error}")
            await stop.wait(_AGAIN_S)
            return
        if verdict is None:
            self._stream_works()
        else:
            may_follow = await self._witness.record(verdict)
            if not may_follow:
                await stop.wait(_AGAIN_S)

    async def _note(self, subject: str, seq: int, content: msgspec.Struct) -> None:
        record = await self._in_thread(lambda: self._journal.note(subject, seq, content))
        applied = await self._in_thread(lambda: self._index.apply([record]))
        self._feed.publish([record], applied.changed.values())

    async def _look(self, *, idle: bool) -> None:
        """Measure the lag; where it is real and nothing comes, deliveries were lost without a trace."""
        self._looked_at = monotonic()
        try:
            self._stream_seq, verdict = await self._source.compare(self._journal)
        except (ApiError, WriteError) as error:
            self._stream_seq = None
            self._health.red("stream", f"cannot look at the stream: {error}")
            return
        self._count_stuck()
        if self._journal.damaged != self._damaged:
            self._journal_works()
        if isinstance(verdict, Fork | Renewed):
            self._source.misfit()
        if (self.lag and idle) or self._is_stuck:
            self._source.misfit()
        if self._source.problem:
            self._health.red("stream", self._source.problem)
        elif self._source.is_aligned or self._is_stuck:
            self._stream_works()

    @property
    def _is_stuck(self) -> bool:
        return self._stuck_looks >= _STUCK_LOOKS

    def _count_stuck(self) -> None:
        """Count the looks in a row at which the stream had more and the journal had got nothing of it."""
        at = self._journal.last_seq if self.lag else -1
        self._stuck_looks = self._stuck_looks + 1 if at == self._stuck_at >= 0 else 0
        self._stuck_at = at

    def _stream_works(self) -> None:
        if self._is_stuck:
            self._health.red("stream", _STUCK)
        else:
            self._health.green("stream")

    def _journal_works(self) -> None:
        self._damaged = damaged = self._journal.damaged
        if damaged:
            self._health.red("journal", f"{damaged} lines of the journal are damaged")
        else:
            self._health.green("journal")

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
