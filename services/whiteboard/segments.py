"""The journal's files: their names, and reading records out of them. Never writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from contracts.errors import DecodeError
from services.whiteboard.packed import Packed
from services.whiteboard.record import GENESIS, Record, chain_hash, created_of, decode_line

OPEN_NAME = "missions.jsonl"
#: What a file is called while it is written: nobody reads it, and a start takes it away.
PART = ".part"
PACKED = ".gz"
_SEALED = re.compile(r"missions\.(\d+)-(\d+)(?:\.(\d+))?\.jsonl(\.gz)?")
_CHUNK_BYTES = 1 << 20
_PROBE_BYTES = 1 << 14
#: No line is longer: the broker's 512 KB in base64 and the frame around it.
_TAIL_BYTES = 1 << 20
_SEQ = re.compile(rb'\{"seq":(\d{1,19}),')


class Segment(msgspec.Struct, frozen=True):
    """One file; `size_bytes` is how much of it is durable on disk, `last` the sequence of its last record."""

    path: Path
    first: int
    last: int
    size_bytes: int

    @property
    def is_open(self) -> bool:
        """Whether it is the one that is being written."""
        return self.path.name == OPEN_NAME

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed."""
        return self.path.suffix == PACKED

    @property
    def name(self) -> str:
        """Its file name, compressed or not."""
        return self.path.name.removesuffix(PACKED)

    def open(self) -> Reading:
        """Open it for reading up to what is durable; the caller closes it."""
        return Packed(self.path) if self.is_packed else Plain(self.path, self.size_bytes)


class Reading(Protocol):
    """A segment that is open for reading."""

    @property
    def size_bytes(self) -> int: ...
    def pread(self, size: int, offset: int) -> bytes: ...
    def close(self) -> None: ...


class Plain:
    """A file as it is, as far as it is durable."""

    def __init__(self, path: Path, size_bytes: int | None = None) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.size_bytes = os.fstat(self._descriptor).st_size if size_bytes is None else size_bytes

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes of the file, as `os.pread` does."""
        return os.pread(self._descriptor, max(0, min(size, self.size_bytes - offset)), offset)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class Verified(msgspec.Struct, frozen=True):
    """What a full reading of a file found."""

    good_end: int  #: behind the last good line
    first: Record | None
    last: Record | None  #: the last good line
    last_message: Record | None  #: the last that is the stream's own
    created: str  #: when the stream was made that a note behind it speaks of
    damaged: tuple[int, ...]  #: offsets of bad lines before a good one, and of lines that break the chain


def free_name(folder: Path, first: int, last: int) -> Path:
    """Return the path of a full segment; a number tells it from one that is there already."""
    path = folder / f"missions.{first}-{last}.jsonl"
    number = 0
    while os.path.lexists(path) or os.path.lexists(packed_path(path)):
        number += 1
        path = folder / f"missions.{first}-{last}.{number}.jsonl"
    return path


def packed_path(path: Path) -> Path:
    """Return where a full segment stands once it is compressed."""
    return path.with_name(path.name + PACKED)


def sealed(folder: Path) -> list[Segment]:
    """Return the full segments in stream order; of one that stands there compressed as well, the plain file."""
    found: dict[tuple[int, int, int], Segment] = {}
    for path in sorted(folder.iterdir()):
        if name := _SEALED.fullmatch(path.name):
            first, last, number = int(name[1]), int(name[2]), int(name[3] or 0)
            found.setdefault((first, last, number), Segment(path, first, last, path.stat().st_size))
    return [found[key] for key in sorted(found)]


def breaks(parts: list[Segment], prev: str = GENESIS) -> set[tuple[str, int]]:
    """Return (name, offset) of the full segments' first lines that do not follow, and of wrong or bad last lines."""
    found = set()
    for part in parts:
        with closing(part.open()) as reading:
            first = record_at(reading, 0)
            line = last_line(reading)
            end = reading.size_bytes
        if first is None or first.prev != prev:
            found.add((part.name, 0))
        last = _good(line)
        if last is None or last.seq != part.last:
            found.add((part.name, max(0, end - len(line) - 1)))
        prev = chain_hash(line)
    return found


def lines(
    reading: Reading, start: int = 0, end: int | None = None, chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (offset, line, whole) between two offsets; only the last may lack its newline and so not be whole."""
    end = reading.size_bytes if end is None else end
    rest = b""
    position = start
    while position < end and (chunk := reading.pread(min(chunk_bytes, end - position), position)):
        found = (rest + chunk).split(b"\n")
        offset = position - len(rest)
        position += len(chunk)
        rest = found.pop()
        for line in found:
            yield offset, line, True
            offset += len(line) + 1
    if rest:
        yield position - len(rest), rest, False


def records(reading: Reading, start: int, damaged: Callable[[int], None]) -> Iterator[Record]:
    """Yield the good records from an offset on; a damaged line is passed over, and `damaged` told its offset."""
    for offset, line, whole in lines(reading, start):
        record = _good(line, offset)
        if record is None or not whole:
            damaged(offset)
        else:
            yield record


def record_at(reading: Reading, offset: int) -> Record | None:
    """Return the record whose line starts at `offset`, or None where no good one does."""
    size = 4_096
    while True:
        line, newline, _ = reading.pread(size, offset).partition(b"\n")
        if newline or offset + size >= reading.size_bytes:
            break
        size *= 8
    return _good(line, offset)


def offset_after(reading: Reading, seq: int) -> int:
    """Return an offset from which every record after `seq` follows, by bisection over the lines' sequences."""
    low, high = 0, reading.size_bytes
    while high - low > _CHUNK_BYTES // 4:
        middle = (low + high) // 2
        start, found = _first_seq_after(reading, middle, high)
        if found is None or found > seq:
            high = middle
        else:
            low = start
    return low


def _first_seq_after(reading: Reading, position: int, end: int) -> tuple[int, int | None]:
    """Return offset and sequence of the first line that starts behind `position` and can be told."""
    for offset, line, _ in lines(reading, position, end, _PROBE_BYTES):
        if offset > position and (match := _SEQ.match(line)):
            return offset, int(match[1])
    return end, None


def last_line(reading: Reading) -> bytes:
    """Return the last line of a full segment, good or not; empty for an empty file."""
    return _tail(reading).removesuffix(b"\n").rpartition(b"\n")[2]


def last_message(reading: Reading) -> tuple[Record | None, str]:
    """Return the last good record in a full segment's tail that is the stream's own, and what notes behind it say.

    Of those that is only when the stream was made which they speak of.
    """
    created = ""
    for line in reversed(_tail(reading).split(b"\n")):
        record = _good(line)
        if record is not None and not record.is_note:
            return record, created
        created = created or (created_of(record, "") if record else "")
    return None, created


def good_hash(line: bytes) -> str | None:
    """Return the hash of a line for the next one, or None where it is no good line."""
    return chain_hash(line) if _good(line) else None


def _tail(reading: Reading) -> bytes:
    return reading.pread(_TAIL_BYTES, max(0, reading.size_bytes - _TAIL_BYTES))


def verify(reading: Reading, prev: str = GENESIS) -> Verified:
    """Read a file whole and check every line and the chain; `prev` is the hash of the line before the file."""
    first = last = last_message = None
    good_end, created = 0, ""
    damaged: list[int] = []
    doubtful: list[int] = []
    for offset, line, whole in lines(reading):
        try:
            record = decode_line(line, offset)
        except DecodeError:
            doubtful.append(offset)
            continue
        if not whole:
            doubtful.append(offset)
            continue
        damaged += doubtful
        if record.prev != prev and not doubtful:
            damaged.append(offset)
        doubtful = []
        prev = chain_hash(line)
        first, last = first or record, record
        last_message = last_message if record.is_note else record
        created = created_of(record, created)
        good_end = offset + len(line) + 1
    return Verified(good_end, first, last, last_message, created, tuple(damaged))


def _good(line: bytes, offset: int = 0) -> Record | None:
    try:
        return decode_line(line, offset)
    except DecodeError:
        return None
