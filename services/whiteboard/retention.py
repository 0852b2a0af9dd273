"""Retention: the oldest segments go, and what they tell of missions that go on is carried over as views.

A mission that was over, and of which nothing was said after the cut, is forgotten whole. Every other one is kept: its
view as the dropped records told it stands in the carried file, and the records that are left are folded on top of it.
So a rebuild from what is left gives the views that were there before.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from contextlib import closing
from datetime import UTC, datetime

import msgspec
import structlog

from contracts.errors import DecodeError
from services.runtime.incoming import rfc3339
from services.whiteboard import segments
from services.whiteboard.batch import Batch
from services.whiteboard.files import Head, carried_path
from services.whiteboard.journal import Journal
from services.whiteboard.record import CUT, GENESIS, MINUTES, VIEW, Note, chain_hash, decode_line, encode_line
from services.whiteboard.segment_files import PART, Segment
from services.whiteboard.tally import Minute, oldest_kept
from services.whiteboard.view import View

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode


class Keep(msgspec.Struct, frozen=True):
    """How much of a journal is kept; 0 is without end."""

    age_s: float = 0
    size_bytes: int = 0


class Fold(msgspec.Struct, frozen=True):
    """What everything up to a cut tells."""

    head: Head
    views: dict[str, View]
    minutes: dict[Minute, int]


def due(journal: Journal, keep: Keep, now_s: float | None = None) -> Segment | None:
    """Return the oldest segment where it has to go; the newest full one always stays."""
    sealed = journal.files.sealed
    if len(sealed) < 2:  # noqa: PLR2004 - the newest one says where the journal stands
        return None
    too_large = 0 < keep.size_bytes < journal.size_bytes
    return sealed[0] if too_large or _is_old(sealed[0], keep, now_s or time.time()) else None


def _is_old(part: Segment, keep: Keep, now_s: float) -> bool:
    if not keep.age_s:
        return False
    with closing(part.open()) as reading:
        line = segments.last_line(reading)
    try:
        written = datetime.fromisoformat(decode_line(line).time)
    except (DecodeError, ValueError):
        return False
    return written < datetime.fromtimestamp(now_s - keep.age_s, UTC)


def fold_through(journal: Journal, part: Segment) -> Fold | None:
    """Fold the oldest segment on top of what was carried over so far; None where damage would make that wrong."""
    bad: list[int] = []
    batch = Batch({}, journal.cut.clock)
    for record in journal.carried():
        batch.add(record)
    last = None
    with closing(part.open()) as reading:
        for last in segments.records(reading, 0, bad.append):
            batch.add(last)
    if bad or last is None or journal.files.carried_damaged:
        return None
    return Fold(batch.head_after(journal.cut, last), batch.views, batch.tally.minutes)


def drop(journal: Journal, fold: Fold, living: Container[int]) -> None:
    """Begin the journal behind a fold: `living` are the missions, by their first sequence, with records after it.

    Raises `OSError`; wherever it ends, the next start finds the journal before or after it, never between.
    """
    path = carried_path(journal.folder, fold.head.last_seq)
    aside = path.with_name(path.name + PART)
    kept = [view for view in fold.views.values() if not view.is_over or view.first_seq in living]
    disk = journal.files.disk
    disk.write_file(aside, _lines(fold, kept))
    disk.rename(aside, path)
    disk.fsync_dir(journal.folder)
    journal.files.begin_after(fold.head, path)
    journal.files.mend_carried()
    log.info("records_dropped", last_seq=fold.head.last_seq, carried=len(kept), missions=len(fold.views))


def _lines(fold: Fold, kept: list[View]) -> Iterator[bytes]:
    prev = GENESIS
    for note in _notes(fold, kept):
        line = encode_line(note, prev)
        yield line + b"\n"
        prev = chain_hash(line)


def _notes(fold: Fold, kept: list[View]) -> Iterator[Note]:
    now, head = rfc3339(time.time_ns()), fold.head
    for view in sorted(kept, key=lambda view: view.first_seq):
        yield Note(view.first_seq, view.updated_at, VIEW + view.mission_id, _encode(view))
    oldest = oldest_kept(head.clock) if head.clock else ""
    minutes = [counted for counted in fold.minutes.items() if counted[0][0] >= oldest]
    yield Note(head.last_seq, now, MINUTES, _encode(minutes))
    yield Note(head.last_seq, now, CUT, _encode(head))
