"""The journal: append, replay, rotate. What `append` returned is on disk, and readers never see more than that."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import time_ns
from typing import Self

import msgspec

from contracts.errors import JournalBroken, NotAppended, SetupError
from services.runtime.incoming import rfc3339
from services.whiteboard import lock, segment_files, segments
from services.whiteboard.disk import Disk
from services.whiteboard.files import Files, Head
from services.whiteboard.record import CUT, Arrival, Note, Record, chain_hash, encode_line
from services.whiteboard.recovery import Position, behind_sealed, recover
from services.whiteboard.segment_files import OPEN_NAME, Missing, Plain, Reading, Segment

SEGMENT_BYTES = 64 * 1024 * 1024
_DATE = 10  #: characters of a time that say the day


class Journal:
    """Append-only JSONL in segments, one writer for life; its last sequence never goes back.

    `append` and `note` belong to one thread at a time; everything else may be used in any.
    """

    def __init__(self, folder: Path, disk: Disk | None = None, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.position = Position()
        self.files = Files(folder, disk or Disk())
        self._disk = self.files.disk
        self._segment_bytes = segment_bytes
        self._descriptor = -1
        self._held: tuple[int, ...] = ()  #: the descriptors of its lock

    @classmethod
    def open(cls, folder: Path, disk: Disk | None = None, *, segment_bytes: int = SEGMENT_BYTES) -> Self:
        """Lock, check and open a journal, making it where there is none; a torn tail is cut off and kept aside.

        Raises `JournalLocked` where another process writes it, `SetupError` where the folder cannot be used.
        """
        journal = cls(folder, disk, segment_bytes=segment_bytes)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal._held = lock.hold(folder)
            journal._recover()
        except OSError as error:
            journal.close()
            raise SetupError(f"cannot keep a journal in {folder}: {error}") from error
        return journal

    @property
    def last_seq(self) -> int:
        """The sequence of the last record, or of the last one that a note of ours speaks of; 0 at first."""
        return self.position.last_seq

    @property
    def damaged(self) -> int:
        """How many bad lines are known; those of full segments as far as they have been read."""
        return self.position.damaged + self.files.damaged

    @property
    def size_bytes(self) -> int:
        """How large all of it is."""
        with self.files.lock:
            return self.position.size_bytes + self.files.size_bytes

    @property
    def cut(self) -> Head:
        """Where it begins: behind the last record that retention removed; nothing was removed at sequence 0."""
        return self.files.cut

    def append(self, batch: Sequence[Arrival]) -> list[Record]:
        """Append messages that follow on the last one, in one write and one sync, and return them as records.

        Raises `NotAppended` where nothing was stored, `JournalBroken` where nobody knows.
        """
        if batch[0].seq != self.last_seq + 1 or batch[-1].seq != self.last_seq + len(batch):
            raise ValueError(f"{batch[0].seq} to {batch[-1].seq} do not follow on {self.last_seq}")
        return self._store(batch)

    def note(self, subject: str, seq: int, content: object) -> Record:
        """Append a record of the whiteboard's own; `seq` is the last sequence it speaks of."""
        [record] = self._store([Note(seq, rfc3339(time_ns()), subject, msgspec.json.encode(content))])
        self.files.copies.keep(record.line)
        return record

    def replay(self, after_seq: int = 0) -> Iterator[Record]:
        """Yield every durable record after a sequence, in stream order, until the end as it is when it gets there."""
        position, before = after_seq, None
        while found := self.opened(position, before):
            reading, part = found
            is_next = before is not None and before.first != part.first  # else it is the open one, which has grown
            with closing(reading):
                start = segments.offset_after(reading, position)
                for record in segments.records(reading, start, partial(self.met, part)):
                    if record.seq > position or (is_next and record.is_note and record.seq == position):
                        yield record
            position, before = max(position, part.last), part

    def carried(self) -> Iterator[Record]:
        """Yield the views that retention carried over; `seq` is that of the mission's proposal."""
        path = self.files.carried
        if path is not None:
            with closing(Plain(path)) as reading:
                for record in segments.records(reading, 0, partial(self._lost_view, path)):
                    if record.subject != CUT:
                        yield record

    def history(self, after_seq: int = 0) -> Iterator[Record]:
        """Yield what a reader of everything needs after a sequence: `replay`, and before it what was carried over."""
        if after_seq < self.cut.last_seq:
            yield from self.before()
        yield from self.replay(max(after_seq, self.cut.last_seq))

    def before(self) -> Iterator[Record]:
        """Yield what stands for the records that retention dropped: what was carried over, and where it begins."""
        yield from self.carried()
        yield Record(self.cut.last_seq, "", CUT, msgspec.json.encode(self.cut), b"")

    def read(self, seq: int, offset: int) -> Record | None:
        """Return one record by its sequence and the offset in its segment; None where it is damaged or gone."""
        found = self.opened(seq - 1)
        if found is None:
            return None
        reading, part = found
        with closing(reading):
            record = segments.record_at(reading, offset)
        if record is None and seq >= part.first:
            self.met(part, offset)
        return record if record is not None and record.seq == seq else None

    def opened(self, position: int, before: Segment | None = None) -> tuple[Reading, Segment] | None:
        """Open the segment behind another full one, or else that of the first record after `position`.

        The caller closes it. One that is gone is damage.
        """
        with self.files.lock:
            part = self._part_after(position) if before is None or before.is_open else self._part_behind(before)
            reading = part.open() if part else None
        if part is None or reading is None:
            return None
        if isinstance(reading, Missing):
            self.met(part, 0)
        return reading, part

    def met(self, part: Segment, offset: int) -> None:
        """Remember a damaged line."""
        if not part.is_open:
            self.files.met(part.name, offset)
            return
        with self.files.lock:
            now = self.position
            if now.first is not None and now.first.seq == part.first and offset not in now.bad:
                self.position = msgspec.structs.replace(now, bad=(*now.bad, offset))

    def seal(self) -> None:
        """Begin a new file, whatever the size of the open one; raises `NotAppended`."""
        self._ready(lambda: self.position.first is not None)

    def close(self) -> None:
        """Let go of the files and the lock."""
        for descriptor in (self._descriptor, *self._held):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor, self._held = -1, ()

    def _store(self, batch: Sequence[Arrival]) -> list[Record]:
        self._ready(lambda: self._is_full(batch[0]))
        records, last_hash = self._lines(batch)
        self._write(b"".join([record.line + b"\n" for record in records]))
        self._sync()
        with self.files.lock:
            self.position = self.position.after(records, last_hash)
        return records

    def _ready(self, is_full: Callable[[], bool]) -> None:
        """Have a file to write to, a new one where the open one is full."""
        try:
            if self._descriptor < 0:
                self._recover()
            if is_full():
                self._rotate()
        except FileNotFoundError as error:
            raise JournalBroken(
                f"{OPEN_NAME} was taken out of {self.folder}: a start fetches again what it held"
            ) from error
        except OSError as error:
            raise NotAppended(f"cannot open a segment in {self.folder}: {error}") from error

    def _lines(self, batch: Sequence[Arrival]) -> tuple[list[Record], str]:
        records = []
        prev = self.position.last_hash
        offset = self.position.size_bytes
        for arrival in batch:
            line = encode_line(arrival, prev)
            prev = chain_hash(line)
            records.append(Record(arrival.seq, arrival.time, arrival.subject, arrival.data, line, offset))
            offset += len(line) + 1
        return records, prev

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._disk.write(self._descriptor, rest) :]
        except OSError as error:
            self._cut_back()
            raise NotAppended(f"cannot write to {self.folder}: {error}") from error

    def _cut_back(self) -> None:
        try:
            self._disk.ftruncate(self._descriptor, self.position.size_bytes)
        except OSError as error:
            raise JournalBroken(f"cannot take a part of a batch back from {self.folder}: {error}") from error

    def _sync(self) -> None:
        try:
            self._disk.fdatasync(self._descriptor)
        except OSError as error:
            with suppress(OSError):  # what the cache still has may never reach the disk: let no start believe it
                self._disk.ftruncate(self._descriptor, self.position.size_bytes)
            raise JournalBroken(f"cannot sync {self.folder}: {error}") from error

    def _is_full(self, following: Arrival) -> bool:
        """Tell whether the open file has its size, or is of another day than what follows."""
        first = self.position.first
        if first is None:
            return False
        if following.seq <= self.position.last_seq:  # a note: in a file of its own it would share its sequence's name
            return False
        return self.position.size_bytes >= self._segment_bytes or first.time[:_DATE] != following.time[:_DATE]

    def _rotate(self) -> None:
        """Rename the open file to what it holds and start another; after an error the next append recovers first."""
        now = self.position
        assert now.first is not None  # noqa: S101 - only a file that holds something is full
        path = segment_files.free_name(self.folder, now.first.seq, now.last_seq)
        with self.files.lock:
            self._disk.rename(self.folder / OPEN_NAME, path)
            self.files.sealed.append(Segment(path, now.first.seq, now.last_seq, now.size_bytes))
            for offset in now.bad:
                self.files.met(path.name, offset)
            self.position = now.in_new_file()
        os.close(self._descriptor)
        self._descriptor = -1
        self._open_file()

    def _recover(self) -> None:
        """Read the open file back, and stand behind its last good record."""
        self._open_file()
        with self.files.lock:
            self.files.load()
            if self.files.reopen_torn():
                os.close(self._descriptor)
                self._open_file()
            before = behind_sealed(self.files.sealed)
            self.position = recover(self.folder, self._descriptor, before, self._disk)

    def _open_file(self) -> None:
        """Open the file that is written, making it where there is none; its name is durable before it is used."""
        descriptor = self._disk.open(self.folder / OPEN_NAME)
        try:
            self._disk.fsync_dir(self.folder)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _lost_view(self, path: Path, offset: int) -> None:
        self.files.met(path.name, offset)

    def _part_after(self, position: int) -> Segment | None:
        sealed, now = self.files.sealed, self._open_part()
        number = bisect_right(sealed, position, key=attrgetter("last"))
        if number < len(sealed):
            return sealed[number]
        return now if now is not None and now.last > position else None

    def _part_behind(self, part: Segment) -> Segment | None:
        sealed = self.files.sealed
        number = bisect_right(sealed, part.order, key=attrgetter("order"))
        return sealed[number] if number < len(sealed) else self._open_part()

    def _open_part(self) -> Segment | None:
        now = self.position
        if now.first is None:
            return None
        return Segment(self.folder / OPEN_NAME, now.first.seq, now.last_seq, now.size_bytes)
