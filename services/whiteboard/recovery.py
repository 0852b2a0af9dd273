"""What a start finds in the journal's files: where it stands, a torn tail to cut off, damage to report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from time import time_ns

import msgspec
import structlog

from contracts.errors import DecodeError
from services.whiteboard import segments
from services.whiteboard.disk import Disk
from services.whiteboard.record import GENESIS, Record, chain_hash, created_of, decode_line
from services.whiteboard.segment_files import OPEN_NAME, Plain, Segment

log = structlog.get_logger()


class Position(msgspec.Struct, frozen=True):
    """Where a journal stands: behind its last durable record."""

    last_seq: int = 0
    last_hash: str = GENESIS
    last_message: Record | None = None  #: the last record that is the stream's own
    last: Record | None = None  #: the last record, whoever wrote it
    created: str = ""  #: when the stream was made that a note behind `last_message` speaks of
    first: Record | None = None  #: the first record of the open file
    size_bytes: int = 0  #: of the open file
    bad: tuple[int, ...] = ()  #: offsets in the open file of lines that cannot be read, or do not follow the one before

    def after(self, records: list[Record], last_hash: str) -> Position:
        """Return the position behind records that are durable now."""
        last = records[-1]
        return Position(
            last_seq=last.seq,
            last_hash=last_hash,
            last_message=self.last_message if last.is_note else last,
            last=last,
            created=created_of(last, self.created),
            first=self.first or records[0],
            size_bytes=last.offset + len(last.line) + 1,
            bad=self.bad,
        )

    @property
    def last_subject(self) -> str:
        """The subject of the last record; empty at first."""
        return self.last.subject if self.last else ""

    @property
    def damaged(self) -> int:
        """How many bad lines the open file has."""
        return len(self.bad)

    def in_new_file(self) -> Position:
        """Return the same position with an empty open file."""
        return msgspec.structs.replace(self, first=None, size_bytes=0, bad=())


def recover(folder: Path, descriptor: int, before: Position, disk: Disk) -> Position:
    """Verify the open file, cut a torn tail off, and say where the journal stands, durably.

    `descriptor` is the open file's, for cutting. Only bytes behind the last good line are ever cut, and kept in
    `quarantine/`; a bad line before a good one is damage, which stays where it is and is counted.
    """
    with closing(Plain(folder / OPEN_NAME)) as reading:
        found = segments.verify(reading, before.last_hash)
        good_end = 0 if _is_left_over(found, before) else found.good_end
        if good_end < reading.size_bytes:
            _quarantine(folder, reading, good_end, disk)
            disk.ftruncate(descriptor, good_end)
    disk.fdatasync(descriptor)  # whoever wrote these lines may have died before it synced them
    if good_end == 0:
        return before
    if found.damaged:
        log.error("journal_damaged", folder=str(folder), offsets=found.damaged[:20], lines=len(found.damaged))
    assert found.first is not None  # noqa: S101 - for the type checker: a good line ends somewhere
    assert found.last is not None  # noqa: S101 - the same
    return Position(
        last_seq=max(found.last.seq, before.last_seq),
        last_hash=chain_hash(found.last.line),
        last_message=found.last_message or before.last_message,
        last=found.last,
        created=found.created if found.last_message else found.created or before.created,
        first=found.first,
        size_bytes=found.good_end,
        bad=found.damaged,
    )


def _is_left_over(found: segments.Verified, before: Position) -> bool:
    """Tell whether the open file holds but what a full one has, as in a copy made while the file was renamed."""
    first, last = found.first, found.last
    if first is None or last is None or first.is_note:
        return False
    return last.seq <= before.last_seq and first.prev != before.last_hash


def behind_sealed(sealed: list[Segment]) -> Position:
    """Say where the journal stands behind its last full segment, of which only the end is read."""
    if not sealed:
        return Position()
    part = sealed[-1]
    with closing(part.open()) as reading:
        line = segments.last_line(reading)
        message, created = segments.last_message(reading)
    record = _good(line)
    if record is None:
        log.error("journal_damaged", segment=part.path.name, lines=1)
    return Position(part.last, chain_hash(line), last_message=message, last=record, created=created)


def _good(line: bytes) -> Record | None:
    try:
        return decode_line(line)
    except DecodeError:
        return None


def _quarantine(folder: Path, reading: Plain, start: int, disk: Disk) -> None:
    """Keep the torn bytes before they are cut."""
    aside = quarantine(folder)
    kept = aside / f"torn-{time_ns()}-at-{start}"
    disk.write_file(kept, [reading.pread(reading.size_bytes - start, start)])
    disk.fsync_dir(aside)
    log.warning("torn_tail_cut", bytes=reading.size_bytes - start, kept=kept.name)


def quarantine(folder: Path) -> Path:
    """Return the folder where damaged bytes are kept, making it where there is none."""
    aside = folder / "quarantine"
    aside.mkdir(mode=0o700, exist_ok=True)
    return aside
