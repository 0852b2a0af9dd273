"""The journal's files: their names, and reading records out of them. Never writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from contracts.errors import DecodeError
from services.whiteboard.record import GENESIS, Record, chain_hash, decode_line

OPEN_NAME = "missions.jsonl"
_SEALED = re.compile(r"missions\.(\d+)-(\d+)(?:\.(\d+))?\.jsonl")
_CHUNK_BYTES = 1 << 20
_PROBE_BYTES = 1 << 14
#: No line is longer: the broker's 512 KB in base64 and the frame around it.
_TAIL_BYTES = 1 << 20
_SEQ = re.compile(rb'\{"seq":(\d{1,19}),')


class Segment(msgspec.Struct, frozen=True):
    """One file; `size_bytes` is how much of it is durable, `last` the sequence of its last record."""

    path: Path
    first: int
    last: int
    size_bytes: int


class Verified(msgspec.Struct, frozen=True):
    """What a full reading of a file found."""

    good_end: int  #: behind the last good line
    first: Record | None
    last: Record | None  #: the last good line
    last_message: Record | None  #: the last that is the stream's own
    damaged: tuple[int, ...]  #: offsets of bad lines before a good one, and of lines that break the chain


def free_name(folder: Path, first: int, last: int) -> Path:
    """Return the path of a full segment; a number tells it from one that is there already."""
    path = folder / f"missions.{first}-{last}.jsonl"
    number = 0
    while os.path.lexists(path):
        number += 1
        path = folder / f"missions.{first}-{last}.{number}.jsonl"
    return path


def sealed(folder: Path) -> list[Segment]:
    """Return the full segments in stream order."""
    names = ((path, _SEALED.fullmatch(path.name)) for path in folder.iterdir())
    numbers = [(int(name[1]), int(name[2]), int(name[3] or 0), path) for path, name in names if name]
    return [Segment(path, first, last, path.stat().st_size) for first, last, _, path in sorted(numbers)]


def breaks(parts: list[Segment]) -> set[tuple[str, int]]:
    """Return (name, offset) of the full segments' first lines that do not follow, and of last lines that are bad."""
    found = set()
    prev = GENESIS
    for part in parts:
        descriptor = open_to_read(part.path)
        try:
            first = record_at(descriptor, 0)
            line = last_line(descriptor, part.size_bytes)
        finally:
            os.close(descriptor)
        if first is None or first.prev != prev:
            found.add((part.path.name, 0))
        if _good(line) is None:
            found.add((part.path.name, max(0, part.size_bytes - len(line) - 1)))
        prev = chain_hash(line)
    return found


def open_to_read(path: Path) -> int:
    """Open a segment for reading; the caller closes it."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def lines(descriptor: int, start: int, end: int, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (offset, line, whole) between two offsets; only the last may lack its newline and so not be whole."""
    rest = b""
    position = start
    while position < end and (chunk := os.pread(descriptor, min(chunk_bytes, end - position), position)):
        found = (rest + chunk).split(b"\n")
        offset = position - len(rest)
        position += len(chunk)
        rest = found.pop()
        for line in found:
            yield offset, line, True
            offset += len(line) + 1
    if rest:
        yield position - len(rest), rest, False


def records(descriptor: int, start: int, end: int, damaged: Callable[[int], None]) -> Iterator[Record]:
    """Yield the good records between two offsets; a damaged line is passed over, and `damaged` told its offset."""
    for offset, line, whole in lines(descriptor, start, end):
        record = _good(line, offset)
        if record is None or not whole:
            damaged(offset)
        else:
            yield record


def record_at(descriptor: int, offset: int) -> Record | None:
    """Return the record whose line starts at `offset`, or None where no good one does."""
    end = os.fstat(descriptor).st_size
    size = 4_096
    while True:
        line, newline, _ = os.pread(descriptor, size, offset).partition(b"\n")
        if newline or offset + size >= end:
            break
        size *= 8
    return _good(line, offset)


def offset_after(descriptor: int, end: int, seq: int) -> int:
    """Return an offset from which every record after `seq` follows, by bisection over the lines' sequences."""
    low, high = 0, end
    while high - low > _CHUNK_BYTES // 4:
        middle = (low + high) // 2
        start, found = _first_seq_after(descriptor, middle, high)
        if found is None or found > seq:
            high = middle
        else:
            low = start
    return low


def _first_seq_after(descriptor: int, position: int, end: int) -> tuple[int, int | None]:
    """Return offset and sequence of the first line that starts behind `position` and can be told."""
    for offset, line, _ in lines(descriptor, position, end, _PROBE_BYTES):
        if offset > position and (match := _SEQ.match(line)):
            return offset, int(match[1])
    return end, None


def last_line(descriptor: int, size: int) -> bytes:
    """Return the last line of a full segment, good or not; empty for an empty file."""
    tail = os.pread(descriptor, min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
    return tail.removesuffix(b"\n").rpartition(b"\n")[2]


def verify(descriptor: int, size: int, prev: str = GENESIS) -> Verified:
    """Read a file whole and check every line and the chain; `prev` is the hash of the line before the file."""
    first = last = last_message = None
    good_end = 0
    damaged: list[int] = []
    doubtful: list[int] = []
    for offset, line, whole in lines(descriptor, 0, size):
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
        good_end = offset + len(line) + 1
    return Verified(good_end, first, last, last_message, tuple(damaged))


def _good(line: bytes, offset: int = 0) -> Record | None:
    try:
        return decode_line(line, offset)
    except DecodeError:
        return None
