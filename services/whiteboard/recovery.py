"""What a start finds in the journal's files: where it stands, a torn tail to cut off, damage to report."""

from __future__ import annotations

import os
from pathlib import Path
from time import time_ns

import msgspec
import structlog

from contracts.errors import DecodeError
from services.whiteboard import segments
from services.whiteboard.disk import Disk
from services.whiteboard.record import GENESIS, Record, chain_hash, decode_line
from services.whiteboard.segments import OPEN_NAME, Segment

log = structlog.get_logger()


class Position(msgspec.Struct, frozen=True):
    """Where a journal stands: behind its last durable record."""

    last_seq: int = 0
    last_hash: str = GENESIS
    last_message: Record | None = None  #: the last record that is the stream's own
    last_subject: str = ""
    first: Record | None = None  #: the first record of the open file
    size_bytes: int = 0  #: of the open file
    damaged: int = 0  #: lines that cannot be read, or do not follow the one before

    def after(self, records: list[Record], last_hash: str) -> Position:
        """Return the position behind records that are durable now."""
        last = records[-1]
        return Position(
            last_seq=last.seq,
            last_hash=last_hash,
            last_message=self.last_message if last.is_note else last,
            last_subject=last.subject,
            first=self.first or records[0],
            size_bytes=last.offset + len(last.line) + 1,
            damaged=self.damaged,
        )

    def in_new_file(self) -> Position:
        """Return the same position with an empty open file."""
        return msgspec.structs.replace(self, first=None, size_bytes=0)


def recover(folder: Path, descriptor: int, sealed: list[Segment], disk: Disk) -> Position:
    """Verify the open file, cut a torn tail off, and say where the journal stands.

    `descriptor` is the open file's, for cutting. Only bytes behind the last good line are ever cut, and kept in
    `quarantine/`; a bad line before a good one is damage, which stays where it is and is counted.
    """
    before = _behind_sealed(sealed)
    reading = segments.open_to_read(folder / OPEN_NAME)
    try:
        size = os.fstat(reading).st_size
        found = segments.verify(reading, size, before.last_hash)
        if found.good_end < size:
            _quarantine(folder, reading, found.good_end, size, disk)
            disk.ftruncate(descriptor, found.good_end)
            disk.fdatasync(descriptor)
    finally:
        os.close(reading)
    if found.damaged:
        log.error("journal_damaged", folder=str(folder), offsets=found.damaged[:20], lines=len(found.damaged))
    if found.first is None or found.last is None:
        return before
    return Position(
        last_seq=max(found.last.seq, before.last_seq),
        last_hash=chain_hash(found.last.line),
        last_message=found.last_message or before.last_message,
        last_subject=found.last.subject,
        first=found.first,
        size_bytes=found.good_end,
        damaged=len(found.damaged),
    )


def _behind_sealed(sealed: list[Segment]) -> Position:
    """Say where the journal stands behind its last full segment, whose last line alone is read."""
    if not sealed:
        return Position()
    part = sealed[-1]
    descriptor = segments.open_to_read(part.path)
    try:
        line = segments.last_line(descriptor, part.size_bytes)
    finally:
        os.close(descriptor)
    record = _good(line)
    if record is None:
        log.error("journal_damaged", segment=part.path.name, lines=1)
        return Position(last_seq=part.last, last_hash=chain_hash(line))
    message = None if record.is_note else record
    return Position(last_seq=part.last, last_hash=chain_hash(line), last_message=message, last_subject=record.subject)


def _good(line: bytes) -> Record | None:
    try:
        return decode_line(line)
    except DecodeError:
        return None


def _quarantine(folder: Path, descriptor: int, start: int, end: int, disk: Disk) -> None:
    """Keep the torn bytes before they are cut."""
    aside = folder / "quarantine"
    aside.mkdir(mode=0o700, exist_ok=True)
    kept = aside / f"torn-{time_ns()}-at-{start}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    writing = os.open(kept, flags, 0o600)
    try:
        rest = memoryview(os.pread(descriptor, end - start, start))
        while rest:
            rest = rest[disk.write(writing, rest) :]
        disk.fdatasync(writing)
    finally:
        os.close(writing)
    disk.fsync_dir(aside)
    log.warning("torn_tail_cut", bytes=end - start, kept=kept.name)
