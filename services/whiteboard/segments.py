"""Reading records out of the journal's files, and checking them. Never writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec

from contracts.errors import DecodeError
from services.whiteboard.record import GENESIS, Record, chain_hash, created_of, decode_line
from services.whiteboard.segment_files import Reading, Segment

_CHUNK_BYTES = 1 << 20
_PROBE_BYTES = 1 << 14
#: No line is longer: the broker's 512 KB in base64 and the frame around it.
_TAIL_BYTES = 1 << 20
_SEQ = re.compile(rb'\{"seq":(\d{1,19}),')


class Verified(msgspec.Struct, frozen=True):
    """What a full reading of a file found."""

    good_end: int  #: behind the last good line
    first: Record | None
    last: Record | None  #: the last good line
    last_message: Record | None  #: the last that is the stream's own
    created: str  #: when the stream was made that a note behind it speaks of
    damaged: tuple[int, ...]  #: offsets of bad lines before a good one, and of lines that break the chain


def told_apart(parts: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Return the full segments that make a journal, and those whose sequences another one has already."""
    kept: list[Segment] = []
    others: list[Segment] = []
    for part in parts:
        again = bool(kept) and part.last <= kept[-1].last and not _begins_with_note(part)
        (others if again else kept).append(part)
    return kept, others


def _begins_with_note(part: Segment) -> bool:
    """Tell whether a segment's first record is the whiteboard's own, which has the sequence of the one before it."""
    with closing(part.open()) as reading:
        record = record_at(reading, 0)
    return record is not None and record.is_note


def breaks(parts: list[Segment], prev: str = GENESIS) -> set[tuple[str, int]]:
    """Return (name, offset) of the full segments' first lines that do not follow, and of wrong or bad last lines."""
    found = set()
    for part in parts:
        with closing(part.open()) as reading:
            first = record_at(reading, 0)
            line = last_line(reading)
            end = reading.size_bytes
        if first is None or (prev and first.prev != prev):  # no hash: nobody knows what stood before the first one
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
    """Return offset and sequence of the first good line that starts behind `position`: a bad one may lie about its."""
    for offset, line, _ in lines(reading, position, end, _PROBE_BYTES):
        if offset > position and (record := _good(line)):
            return offset, record.seq
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


def good_hash(line: bytes, seq: int) -> str | None:
    """Return the hash of a line for the next one, or None where it is no good line with this sequence."""
    record = _good(line)
    return chain_hash(line) if record is not None and record.seq == seq else None


def first_prev(part: Segment) -> str | None:
    """Return what a segment's first line says about the line before; None where it is bad, or of another segment."""
    with closing(part.open()) as reading:
        record = record_at(reading, 0)
    return record.prev if record is not None and part.first <= record.seq <= part.last else None


def seq_of(line: bytes) -> int:
    """Return the sequence of a line that is known to be good."""
    match = _SEQ.match(line)
    assert match is not None  # noqa: S101 - a good line begins with it
    return int(match[1])


def _tail(reading: Reading) -> bytes:
    return reading.pread(_TAIL_BYTES, max(0, reading.size_bytes - _TAIL_BYTES))


def verify(reading: Reading, prev: str = GENESIS) -> Verified:
    """Read a file whole and check every line and the chain; `prev` is the hash of the line before, empty if unknown."""
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
        if prev and record.prev != prev and not doubtful:
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
