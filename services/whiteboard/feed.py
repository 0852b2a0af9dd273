"""The live side: who waits for records, for a sequence or for an outcome is woken when they are on disk.

Nothing is queued per reader: each has a cursor, and reads on from the recent records that all share, or from the
journal where it has fallen further behind. A slow reader costs nobody memory or time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, takewhile
from operator import attrgetter
from time import monotonic
from typing import TypeVar

from msgspec import Struct

from services.whiteboard.journal import Journal
from services.whiteboard.record import Record
from services.whiteboard.view import View

#: What all readers share of the newest records.
_RECENT_BYTES = 4 * 1024 * 1024
#: What one reader takes at a time: no more than either, but always one record.
CHUNK = 256
CHUNK_BYTES = 64 * 1024

Read = TypeVar("Read")
Wanted = Callable[[Record], bool]


class Missed(Struct, frozen=True):
    """What was asked for and is not there: removed, damaged, or lost before it was journalled."""

    first: int
    last: int


class Reached(Struct, frozen=True):
    """All that was wanted up to here has been told."""

    seq: int


Part = list[Record] | Missed | Reached


class Feed:
    """Wakes those who wait; lives on the event loop. `last_seq` is the last sequence that may be seen."""

    def __init__(self, journal: Journal, last_seq: int) -> None:
        self.last_seq = last_seq
        self.readers = 0
        self.closed = False
        self._journal = journal
        self._recent: list[Record] = []
        self._recent_bytes = 0
        self._waiting: dict[asyncio.Future[None], int] = {}  #: future to the sequence it waits to see passed
        self._outcomes: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._replaying = ThreadPoolExecutor(1, thread_name_prefix="replay")

    def publish(self, records: Sequence[Record], changed: Iterable[View]) -> None:
        """Let everybody see records that are on disk and in the index."""
        self._recent.extend(records)
        self._recent_bytes += sum(len(record.line) for record in records)
        if self._recent_bytes > 2 * _RECENT_BYTES:
            self._forget()
        self.advance(records[-1].seq)
        if self._outcomes:
            for view in changed:
                if view.is_over:
                    _wake(self._outcomes.get(view.mission_id, ()))

    def advance(self, seq: int) -> None:
        """Say that the journal may be read up to `seq`."""
        self.last_seq = max(self.last_seq, seq)
        _wake([future for future, position in self._waiting.items() if position < self.last_seq])

    def close(self) -> None:
        """End every wait and every stream."""
        self.closed = True
        _wake(self._waiting)
        for waiting in self._outcomes.values():
            _wake(waiting)

    async def passed(self, position: int, seconds: float) -> bool:
        """Wait until there is something after `position`; return whether there is."""
        if self.last_seq <= position and not self.closed:
            future = asyncio.get_running_loop().create_future()
            self._waiting[future] = position
            try:
                await _within(future, seconds)
            finally:
                del self._waiting[future]
        return self.last_seq > position

    async def outcome(self, mission_id: str, is_over: Callable[[], bool], seconds: float) -> None:
        """Wait until a mission is over, at most `seconds`; `is_over` looks at what is known already."""
        if self.closed or seconds <= 0 or is_over():
            return
        future = asyncio.get_running_loop().create_future()
        self._outcomes[mission_id].add(future)
        try:
            await _within(future, seconds)
        finally:
            waiting = self._outcomes[mission_id]
            waiting.discard(future)
            if not waiting:
                del self._outcomes[mission_id]

    async def follow(self, after: int, wanted: Wanted, *, pause_s: float, for_s: float) -> AsyncGenerator[Part, None]:
        """Yield the wanted records after a sequence in chunks, for `for_s` or until `close`.

        `Reached` says how far it is whenever nothing that is wanted came for `pause_s`, and at the end; `Missed` that
        the journal has a hole there.
        """
        position = after
        spoke_at = monotonic()
        until = spoke_at + for_s
        self.readers += 1
        try:
            while not self.closed and (now := monotonic()) < until:
                if now >= spoke_at + pause_s:
                    yield Reached(position)
                    spoke_at = monotonic()
                if not await self.passed(position, min(spoke_at + pause_s, until) - now):
                    continue
                end = self.last_seq  # what comes while the journal is read is not missing in it
                records = await self._after(position, end)
                for part in _parts(records, position, end):
                    if chosen := part if isinstance(part, Missed) else [record for record in part if wanted(record)]:
                        yield chosen
                        spoke_at = monotonic()
                position = records[-1].seq if records else end
            yield Reached(position)
        finally:
            self.readers -= 1

    async def _after(self, position: int, end: int) -> list[Record]:
        """Return the next records; the journal is ahead of what may be seen while a batch is indexed."""
        if self._recent and self._recent[0].seq <= position + 1:
            start = bisect_right(self._recent, position, key=attrgetter("seq"))
            return _chunk(islice(self._recent, start, start + CHUNK))
        seen = takewhile(lambda record: record.seq <= end, self._journal.replay(position))
        return await self.replaying(lambda: _chunk(islice(seen, CHUNK)))

    async def replaying(self, read: Callable[[], Read]) -> Read:
        """Read the journal in the one thread of all who read much of it; more would keep everybody else waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._replaying, read)

    def _forget(self) -> None:
        """Keep the newest records, about `_RECENT_BYTES` of them."""
        kept = 0
        for number, record in enumerate(reversed(self._recent)):
            kept += len(record.line)
            if kept > _RECENT_BYTES:
                del self._recent[: len(self._recent) - number]
                break
        self._recent_bytes = sum(len(record.line) for record in self._recent)


def _chunk(records: Iterable[Record]) -> list[Record]:
    """Take records up to `CHUNK_BYTES`, and at least one if there is any."""
    taken: list[Record] = []
    size = 0
    for record in records:
        size += len(record.line)
        if taken and size > CHUNK_BYTES:
            break
        taken.append(record)
    return taken


def _parts(records: list[Record], position: int, last_seq: int) -> list[list[Record] | Missed]:
    """Return records that are read behind a position, and what is missing before, between or instead of them."""
    if not records:
        return [Missed(position + 1, last_seq)]
    if records[-1].seq - position == len(records):
        return [records]
    parts: list[list[Record] | Missed] = []
    for record in records:
        if record.seq > position + 1:
            # a note of ours stands at the last sequence it speaks of
            parts.append(Missed(position + 1, record.seq if record.is_note else record.seq - 1))
        if not parts or isinstance(parts[-1], Missed):
            parts.append([])
        current = parts[-1]
        assert isinstance(current, list)  # noqa: S101 - the line above made it one
        current.append(record)
        position = max(position, record.seq)
    return parts


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


async def _within(future: asyncio.Future[None], seconds: float) -> None:
    """Wait for a future, at most `seconds`, without a task of its own."""
    timer = asyncio.get_running_loop().call_later(seconds, _wake, (future,))
    try:
        await future
    finally:
        timer.cancel()
