"""Repairing full segments from the stream: what is missing between two good lines is written again.

A line depends on nothing but its message and the line before, so the same message gives the same bytes. That they are
the same is proved by the chain: the good line behind the hole names the hash of the one before it. Where the hashes do
not meet, because the stream has the message no more, or is another stream, nothing is changed. No stream has records of
our own: they are found by the line that they follow among the copies that the journal keeps of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import chain, groupby, pairwise
from operator import attrgetter
from tempfile import SpooledTemporaryFile
from time import time_ns
from typing import Any

import msgspec
import structlog

from services.whiteboard import holes, segment_files, segments
from services.whiteboard.files import Files
from services.whiteboard.holes import Hole, Stretch
from services.whiteboard.record import Arrival, chain_hash, encode_line
from services.whiteboard.recovery import quarantine
from services.whiteboard.segment_files import PART, Plain, Reading, Segment

log = structlog.get_logger()

_BLOCK_BYTES = 1 << 20
#: What is fetched for one hole is kept in memory up to this size, and in a file beyond it.
_SPOOL_BYTES = 8 << 20
#: Where files are missing, those that are written in their place get this size.
_FILE_BYTES = 64 << 20

Fetch = Callable[[int], Awaitable[Arrival | None]]
Run = Callable[..., Awaitable[Any]]


class Filled(msgspec.Struct, frozen=True):
    """A hole, and the lines that belong into it."""

    hole: Hole
    lines: SpooledTemporaryFile[bytes]


class Mended(msgspec.Struct, frozen=True):
    """What a repair did: whether all is whole now, and between which sequences lines have come, gone or moved."""

    whole: bool
    first: int = 1
    last: int = 0


class _Piece(msgspec.Struct, frozen=True):
    """Bytes of a repaired stretch: those of a place in it, or a line that is written again."""

    owner: tuple[int, int]  #: the number of a segment, and 0, or the number of a file that is missing before it
    start: int = 0
    end: int = 0
    line: bytes = b""


async def mend(files: Files, part: Segment, fetch: Fetch, run: Run) -> Mended:
    """Repair a segment, and its neighbours where they are damaged together; `run` runs what uses files in a thread."""
    stretch = await run(holes.stretch_around, files, part)
    found = await run(holes.find, stretch)
    copies = await run(files.copies.by_prev)
    with ExitStack() as spools:
        filled = [done for hole in found if (done := await _filled(hole, fetch, copies, files, spools))]
        if filled:
            await run(_write, files, stretch, filled)
            log.warning("segment_repaired", segment=part.name, holes=len(filled))
    whole = len(filled) == len(found)
    if whole:
        for each in stretch.parts:
            files.mended(each.name)
    return Mended(whole, filled[0].hole.first, stretch.parts[-1].last) if filled else Mended(whole)


async def _filled(
    hole: Hole, fetch: Fetch, copies: Mapping[str, bytes], files: Files, spools: ExitStack
) -> Filled | None:
    """Return a hole, or else the wider one, with its lines; None where they cannot be had."""
    for wanted in (hole, hole.wider):
        if wanted is not None and wanted.after:
            spool = SpooledTemporaryFile[bytes](_SPOOL_BYTES, dir=str(files.folder))
            lines = spools.enter_context(spool)
            if await _fill(wanted, lines, fetch, copies):
                return Filled(wanted, lines)
    return None


async def _fill(hole: Hole, lines: SpooledTemporaryFile[bytes], fetch: Fetch, copies: Mapping[str, bytes]) -> bool:
    """Write the lines that lead from the line before to the one behind; return whether they meet."""
    at, seq = hole.before, hole.first
    while at != hole.after:
        line = copies.get(at)
        if line is None:
            arrival = await fetch(seq) if seq <= hole.last else None
            if arrival is None:
                return False
            line = encode_line(arrival, at)
        lines.write(line + b"\n")
        at, seq = chain_hash(line), max(seq, segments.seq_of(line) + 1)
    return True


def _write(files: Files, stretch: Stretch, filled: list[Filled]) -> None:
    """Write each segment anew into which lines belong or out of which bytes go, and each file that is missing."""
    with ExitStack() as opened:
        readings = [opened.enter_context(closing(part.open())) for part in stretch.parts]
        for (number, missing), pieces in groupby(_pieces(stretch, filled), attrgetter("owner")):
            if missing:
                _add(files, stretch.parts[number], pieces)
            else:
                _rewrite(files, stretch, number, readings[number], pieces)


def _rewrite(files: Files, stretch: Stretch, number: int, reading: Reading, pieces: Iterator[_Piece]) -> None:
    """Write a segment anew, unless all of it is kept as it is."""
    first, second = next(pieces), next(pieces, None)
    if second is not None or first.end - first.start != stretch.sizes[number]:
        rest = () if second is None else chain((second,), pieces)
        content = _content(reading, stretch.starts[number], chain((first,), rest))
        _replace(files, stretch.parts[number], content)


def _pieces(stretch: Stretch, filled: list[Filled]) -> Iterator[_Piece]:
    """Yield what the repaired stretch consists of, in order."""
    position = 0
    for item in filled:
        yield from _kept(stretch, position, item.hole.start)
        yield from _missing(stretch, item)
        position = item.hole.end
    yield from _kept(stretch, position, stretch.starts[-1])


def _kept(stretch: Stretch, start: int, end: int) -> Iterator[_Piece]:
    for number, (begin, behind) in enumerate(pairwise(stretch.starts)):
        low, high = max(begin, start), min(behind, end)
        if low < high:
            yield _Piece((number, 0), low, high)


def _missing(stretch: Stretch, filled: Filled) -> Iterator[_Piece]:
    ends = [part.last for part in stretch.parts]
    size = 0
    filled.lines.seek(0)
    for line in filled.lines:
        seq = segments.seq_of(line)
        number = min(bisect_left(ends, seq), len(ends) - 1)
        between = seq < stretch.parts[number].first
        yield _Piece((number, 1 + size // _FILE_BYTES if between else 0), line=line)
        size += len(line)


def _content(reading: Reading, begin: int, pieces: Iterator[_Piece]) -> Iterator[bytes]:
    for piece in pieces:
        if piece.line:
            yield piece.line
        for offset in range(piece.start - begin, piece.end - begin, _BLOCK_BYTES):
            yield reading.pread(min(_BLOCK_BYTES, piece.end - begin - offset), offset)


def _add(files: Files, before: Segment, pieces: Iterator[_Piece]) -> None:
    """Write a file that is missing before a segment."""
    aside = files.folder / f"missing{PART}"
    files.disk.write_file(aside, (piece.line for piece in pieces))
    with closing(Plain(aside)) as reading:
        first, last = (segments.seq_of(line) for line in (reading.pread(64, 0), segments.last_line(reading)))
        size_bytes = reading.size_bytes
    path = segment_files.free_name(files.folder, first, last)
    files.disk.rename(aside, path)
    files.disk.fsync_dir(files.folder)
    files.insert(Segment(path, first, last, size_bytes), before=before)


def _replace(files: Files, part: Segment, content: Iterator[bytes]) -> None:
    """Write the repaired copy, keep the damaged one aside, and let the copy take its name."""
    path = part.path.with_name(part.name)
    aside = path.with_name(path.name + PART)
    files.disk.write_file(aside, content)
    if part.path.exists():
        kept = quarantine(files.folder) / f"damaged-{time_ns()}-{part.path.name}"
        files.disk.link(part.path, kept)
        files.disk.fsync_dir(kept.parent)
    files.disk.rename(aside, path)
    files.disk.fsync_dir(files.folder)
    files.replace(part, Segment(path, part.first, part.last, path.stat().st_size))
    if part.is_packed:
        files.disk.unlink(part.path)


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
