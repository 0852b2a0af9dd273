"""Where something is missing in full segments: between which good lines, and what proves what belongs there.

Segments that are damaged where they meet are looked at as one stretch of bytes. A line is good where its checksum is,
its sequence belongs into its file, and it does not contradict both its neighbours. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate, chain, pairwise

import msgspec

from services.whiteboard import segments
from services.whiteboard.files import UNKNOWN, Files
from services.whiteboard.record import Record, chain_hash
from services.whiteboard.segment_files import Segment


class Stretch(msgspec.Struct, frozen=True):
    """Neighbouring full segments, and what is known of the lines before and behind them."""

    parts: tuple[Segment, ...]
    sizes: tuple[int, ...]
    last_before: int
    before: str
    after: str  #: what the line behind says about the last one; empty where nobody can tell

    @property
    def starts(self) -> list[int]:
        """Where each segment begins in the stretch, and where the last one ends."""
        return list(accumulate(self.sizes, initial=0))


class Hole(msgspec.Struct, frozen=True):
    """Bytes of a stretch, none or some, in whose place others should stand."""

    start: int
    end: int
    first: int  #: the first sequence that may be missing
    last: int
    before: str  #: the hash of the line before
    after: str  #: what the line behind calls that hash once the hole is filled
    wider: Hole | None = None  #: with the line before, which may be what is wrong although its checksum is right


class _Line(msgspec.Struct, frozen=True):
    """A line that can be read, or the edge of a stretch."""

    start: int
    end: int
    seq: int
    prev: str
    hash: str
    last_before: int  #: the last sequence that may stand before it


def stretch_around(files: Files, part: Segment) -> Stretch:
    """Return a full segment, and its neighbours as far as they are damaged where they meet."""
    sealed = list(files.sealed)
    begin = end = sealed.index(part)
    while begin and files.prev_of(sealed[begin]) is None:
        begin -= 1
    while end + 1 < len(sealed) and files.next_prev(sealed[end]) is None:
        end += 1
    parts = tuple(sealed[begin : end + 1])
    return Stretch(
        parts=parts,
        sizes=tuple(_size(part) for part in parts),
        last_before=files.last_before(parts[0]),
        before=files.prev_of(parts[0]) or UNKNOWN,
        after=files.next_prev(parts[-1]) or UNKNOWN,
    )


def _size(part: Segment) -> int:
    with closing(part.open()) as reading:
        return reading.size_bytes


def find(stretch: Stretch) -> list[Hole]:
    """Read a stretch whole and say between which good lines something is missing."""
    total, last = stretch.starts[-1], stretch.parts[-1].last
    at = _Line(0, 0, stretch.last_before, "", stretch.before, 0)
    beyond = _Line(total, total, last + 1, stretch.after, "", last)
    found: list[Hole] = []
    before: _Line | None = None
    for line, following in pairwise(chain(_lines(stretch), (beyond, beyond))):
        follows = at.hash in {line.prev, UNKNOWN} or (line is beyond and not stretch.after and at.seq == last)
        if line is not beyond and not follows and line.end == following.start and following.prev != line.hash:
            continue  # it contradicts both its neighbours
        if not follows or line.start != at.end:
            found.append(_hole(before, at, line))
        before, at = at, line
    return found


def _hole(before: _Line | None, at: _Line, line: _Line) -> Hole:
    wider = None
    if before is not None and at.prev == before.hash:
        wider = Hole(at.start, line.start, before.seq + 1, line.last_before, before.hash, line.prev)
    return Hole(at.end, line.start, at.seq + 1, line.last_before, at.hash, line.prev, wider)


def _lines(stretch: Stretch) -> Iterator[_Line]:
    for start, part in zip(stretch.starts, stretch.parts, strict=False):
        with closing(part.open()) as reading:
            for record in segments.records(reading, 0, lambda _: None):
                if part.first <= record.seq <= part.last:
                    yield _line(record, start + record.offset)


def _line(record: Record, start: int) -> _Line:
    last_before = record.seq if record.is_note else record.seq - 1
    return _Line(start, start + len(record.line) + 1, record.seq, record.prev, chain_hash(record.line), last_before)
