"""Which files make a journal: the full segments in stream order, and what was carried over from those that are gone.

Files change by whole names alone: a new one is written aside, synced, renamed, and its folder synced, before what it
replaces is taken away. A crash in between leaves both, and the next start takes away the one that is superfluous.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import msgspec
import structlog

from contracts.errors import DecodeError
from services.whiteboard import segment_files, segments
from services.whiteboard.copies import Copies, copy_of, mend_carried
from services.whiteboard.disk import Disk
from services.whiteboard.record import CUT, GENESIS, decode_line
from services.whiteboard.segment_files import OPEN_NAME, PART, Plain, Segment

log = structlog.get_logger()

_MOST_DAMAGED = 100_000
#: Stands for a hash that nobody knows any more.
UNKNOWN = ""
_CARRIED = re.compile(r"carried\.(\d+)(\.copy)?\.jsonl")


class Head(msgspec.Struct, frozen=True):
    """How much of a journal something reflects, and what it met there."""

    last_seq: int = 0
    last_hash: str = GENESIS
    illegal: int = 0
    unreadable: int = 0
    gaps: int = 0
    forks: int = 0
    clock: str = ""  #: the latest time that a record has: what "at this time" means, as sequences know no way back


_decode_head = msgspec.json.Decoder(Head).decode


class Files:
    """The files of one journal. `lock` guards which there are, and how much of the open one is durable."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.disk = disk
        self.copies = Copies(folder, disk)
        self.lock = threading.Lock()
        self.sealed: list[Segment] = []
        self.cut = Head()  #: where the journal begins: behind the last record that retention removed
        self.carried: Path | None = None
        self._damaged: defaultdict[str, set[int]] = defaultdict(set)

    @property
    def damaged(self) -> int:
        """How many bad lines are known in full segments."""
        return sum(map(len, list(self._damaged.values())))

    @property
    def carried_damaged(self) -> bool:
        """Whether a view that was carried over cannot be read."""
        return self.carried is not None and bool(self._damaged.get(self.carried.name))

    @property
    def suspects(self) -> list[Segment]:
        """The full segments in which damage is known."""
        return [part for part in self.sealed if self._damaged.get(part.name)]

    @property
    def size_bytes(self) -> int:
        """How much room the full segments take on the disk."""
        return sum(part.size_bytes for part in self.sealed)

    def load(self) -> None:
        """Look what is there, and take away what a crash left; the caller holds the lock."""
        for path in self.folder.glob(f"*{PART}"):
            self.disk.unlink(path)
        self._load_cut()
        found = segment_files.sealed(self.folder)
        for part in found:
            if part.last <= self.cut.last_seq:
                self.disk.unlink(part.path)
            elif not part.is_packed:
                self.disk.unlink(segment_files.packed_path(part.path))
        self.sealed, others = segments.told_apart([part for part in found if part.last > self.cut.last_seq])
        for part in others:
            log.warning("segment_ignored", segment=part.path.name, reason="another one has its sequences")
        for name, offset in segments.breaks(self.sealed, self.cut.last_hash):
            self.met(name, offset)

    def reopen_torn(self) -> bool:
        """Let the last full segment be the open file again where its end is bad and nothing stands behind it.

        What follows would be chained to the bad line, which nothing could then prove. A start cuts it off instead.
        """
        path = self.folder / OPEN_NAME
        if not self.sealed or self.sealed[-1].is_packed or path.stat().st_size:
            return False
        part = self.sealed[-1]
        with closing(part.open()) as reading:
            if segments.good_hash(segments.last_line(reading), part.last) is not None:
                return False
        log.warning("segment_reopened", segment=part.name)
        self.disk.rename(part.path, path)
        self.disk.fsync_dir(self.folder)
        self.sealed.pop()
        self.mended(part.name)
        return True

    def _load_cut(self) -> None:
        for _, path in _carried(self.folder)[-1:]:
            mend_carried(path, self.disk)
        self.cut, self.carried = found_cut(self.folder)
        for seq, path in _carried(self.folder):
            if seq < self.cut.last_seq:
                self._unlink_carried(path)

    def _unlink_carried(self, path: Path) -> None:
        self.disk.unlink(path)
        self.disk.unlink(copy_of(path))

    def mend_carried(self) -> None:
        """Repair what was carried over from its copy, or make the copy; raises `OSError`."""
        if self.carried and mend_carried(self.carried, self.disk):
            self.mended(self.carried.name)

    def met(self, name: str, offset: int) -> None:
        """Remember a damaged line of a full segment."""
        if self.damaged < _MOST_DAMAGED:
            self._damaged[name].add(offset)

    def mended(self, name: str) -> None:
        """Forget the damage in a segment."""
        self._damaged.pop(name, None)

    def prev_of(self, part: Segment) -> str | None:
        """Return the hash of the last line before a full segment; None where that line is bad or is not the last."""
        number = self.sealed.index(part)
        if number == 0:
            return self.cut.last_hash
        before = self.sealed[number - 1]
        with closing(before.open()) as reading:
            return segments.good_hash(segments.last_line(reading), before.last)

    def last_before(self, part: Segment) -> int:
        """Return the last sequence before a full segment."""
        number = self.sealed.index(part)
        return self.sealed[number - 1].last if number else self.cut.last_seq

    def next_prev(self, part: Segment) -> str | None:
        """Return what the line behind a full segment says about the segment's last; None where nobody can tell."""
        number = self.sealed.index(part) + 1
        if number < len(self.sealed):
            return segments.first_prev(self.sealed[number])
        path = self.folder / OPEN_NAME
        return segments.first_prev(Segment(path, part.last, segment_files.NO_END, path.stat().st_size))

    def replace(self, old: Segment, new: Segment) -> None:
        """Let readers have another file in place of one of the full segments."""
        with self.lock:
            self.sealed[self.sealed.index(old)] = new

    def insert(self, new: Segment, *, before: Segment) -> None:
        """Let readers have a full segment that was missing."""
        with self.lock:
            self.sealed.insert(self.sealed.index(before), new)

    def begin_after(self, head: Head, carried: Path) -> None:
        """Drop the segments up to a cut whose carried file is durable."""
        with self.lock:
            gone = [part for part in self.sealed if part.last <= head.last_seq]
            before, self.carried, self.cut = self.carried, carried, head
            self.sealed = self.sealed[len(gone) :]
        for part in gone:
            self.mended(part.name)
            self.disk.unlink(part.path)
        if before:
            self._unlink_carried(before)
        self.disk.fsync_dir(self.folder)


def found_cut(folder: Path) -> tuple[Head, Path | None]:
    """Return where a journal begins, and the file of what was carried over.

    Only a file that says so itself is believed while there are segments that would go with it.
    """
    found = _carried(folder)
    for seq, path in reversed(found):
        if head := _read_cut(seq, path):
            return head, path
    if not found or any(part.last <= found[-1][0] for part in segment_files.sealed(folder)):
        return Head(), None
    seq, path = found[-1]
    log.error("carried_file_damaged", path=str(path))
    return Head(last_seq=seq, last_hash=UNKNOWN), path


def carried_path(folder: Path, seq: int) -> Path:
    """Return where the views of missions are kept whose records up to `seq` are gone."""
    return folder / f"carried.{seq}.jsonl"


def _carried(folder: Path) -> list[tuple[int, Path]]:
    """Return the files of carried views, oldest first, those too of which only the copy is left."""
    names = filter(None, (_CARRIED.fullmatch(path.name) for path in folder.iterdir()))
    return [(seq, carried_path(folder, seq)) for seq in sorted({int(name[1]) for name in names})]


def _read_cut(seq: int, path: Path) -> Head | None:
    """Read where the journal begins; None where the last line does not say so."""
    if not path.exists():
        return None
    with closing(Plain(path)) as reading:
        line = segments.last_line(reading)
    try:
        record = decode_line(line)
        return _decode_head(record.data) if record.subject == CUT and record.seq == seq else None
    except (DecodeError, msgspec.MsgspecError):
        return None
