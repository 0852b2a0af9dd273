"""Repairing a full segment from the stream: what is missing between two good lines is written again.

A line depends on nothing but its message and the line before, so the same message gives the same bytes. That they are
the same is proved by the chain: the good line behind the hole names the hash of the one before it. Where the hashes do
not meet, because the stream has the message no more, or is another stream, or a record of the whiteboard itself is
gone, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from time import time_ns

import msgspec
import structlog

from services.whiteboard import segments
from services.whiteboard.files import Files
from services.whiteboard.record import Arrival, Record, chain_hash, encode_line
from services.whiteboard.recovery import quarantine
from services.whiteboard.segments import PART, Reading, Segment

log = structlog.get_logger()

_BLOCK_BYTES = 1 << 20

Fetch = Callable[[int], Awaitable[Arrival | None]]


class Hole(msgspec.Struct, frozen=True):
    """Bytes of a segment, none or some, in whose place others should stand."""

    start: int
    end: int
    first: int  #: the first sequence that may be missing
    last: int
    before: str  #: the hash of the line before
    after: str  #: what the line behind calls that hash once the hole is filled

    @property
    def is_file(self) -> bool:
        """Whether nothing is missing but whole files before this one."""
        return self.end == 0


Filled = list[tuple[Hole, bytes]]


async def mend(files: Files, part: Segment, fetch: Fetch, run: Callable[..., Awaitable[object]]) -> bool:
    """Repair a segment; return whether it is whole now. `run` runs what reads and writes files in a thread."""
    holes = await run(find_holes, files, part)
    assert isinstance(holes, list)  # noqa: S101 - for the type checker
    filled: Filled = []
    for hole in holes:
        if (lines := await _fill(hole, fetch)) is not None:
            filled.append((hole, lines))
    if filled:
        before = [item for item in filled if item[0].is_file]
        for hole, lines in before:
            await run(_add, files, part, hole, lines)
        if inside := [item for item in filled if item not in before]:
            await run(_replace, files, part, inside)
        log.warning("segment_repaired", segment=part.name, holes=len(filled))
    if whole := len(filled) == len(holes):
        files.mended(part.name)
    return whole


def find_holes(files: Files, part: Segment) -> list[Hole]:
    """Read a segment whole and say between which good lines something is missing."""
    found: list[Hole] = []
    prev = files.prev_of(part)
    seq, end = part.first - 1, 0
    with closing(part.open()) as reading:
        for record in segments.records(reading, 0, lambda _: None):
            if record.offset != end or record.prev != prev:
                first = files.last_before(part) + 1 if record.offset == 0 else seq + 1
                found.append(Hole(end, record.offset, first, _last_before(record), prev or "", record.prev))
            seq, end = record.seq, record.offset + len(record.line) + 1
            prev = chain_hash(record.line)
        after = files.next_prev(part)
        if end != reading.size_bytes or (after is not None and after != prev):
            found.append(Hole(end, reading.size_bytes, seq + 1, part.last, prev or "", after or ""))
    return found


def _last_before(record: Record) -> int:
    return record.seq if record.is_note else record.seq - 1


async def _fill(hole: Hole, fetch: Fetch) -> bytes | None:
    """Return the lines of a hole, or None where they cannot be had."""
    lines: list[bytes] = []
    at, seq = hole.before, hole.first
    while at != hole.after:
        arrival = await fetch(seq) if seq <= hole.last else None
        if arrival is None:
            return None
        lines.append(encode_line(arrival, at))
        at, seq = chain_hash(lines[-1]), seq + 1
    return b"".join(line + b"\n" for line in lines)


def _add(files: Files, part: Segment, hole: Hole, lines: bytes) -> None:
    """Write a file that is missing before a segment."""
    path = segments.free_name(files.folder, hole.first, part.first - 1)
    aside = path.with_name(path.name + PART)
    files.disk.write_file(aside, [lines])
    files.disk.rename(aside, path)
    files.disk.fsync_dir(files.folder)
    files.insert(Segment(path, hole.first, part.first - 1, len(lines)), before=part)


def _replace(files: Files, part: Segment, filled: Filled) -> None:
    """Write the repaired copy, keep the damaged one aside, and let the copy take its name."""
    path = part.path.with_name(part.name)
    aside = path.with_name(path.name + PART)
    with closing(part.open()) as reading:
        files.disk.write_file(aside, _mended(reading, filled))
    kept = quarantine(files.folder) / f"damaged-{time_ns()}-{part.path.name}"
    files.disk.link(part.path, kept)
    files.disk.fsync_dir(kept.parent)
    files.disk.rename(aside, path)
    files.disk.fsync_dir(files.folder)
    files.replace(part, Segment(path, part.first, part.last, path.stat().st_size))
    if part.is_packed:
        files.disk.unlink(part.path)


def _mended(reading: Reading, filled: Filled) -> Iterator[bytes]:
    position = 0
    for hole, lines in filled:
        yield from _copied(reading, position, hole.start)
        yield lines
        position = hole.end
    yield from _copied(reading, position, reading.size_bytes)


def _copied(reading: Reading, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, _BLOCK_BYTES):
        yield reading.pread(min(_BLOCK_BYTES, end - offset), offset)


def is_whole(files: Files, part: Segment) -> bool:
    """Read a segment whole; remember the damage that is met."""
    with closing(part.open()) as reading:
        found = segments.verify(reading, files.prev_of(part) or "")
        bad = list(found.damaged)
        if found.good_end != reading.size_bytes or found.last is None or found.last.seq != part.last:
            bad.append(found.good_end)
    for offset in bad:
        files.met(part.name, offset)
    return not bad
