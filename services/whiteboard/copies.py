"""Second copies of what is the whiteboard's own: no stream has it, so nothing else could repair it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from time import time_ns

import structlog

from services.whiteboard import segments
from services.whiteboard.disk import Disk
from services.whiteboard.record import CUT
from services.whiteboard.segment_files import PART, Plain

log = structlog.get_logger()

NAME = "notes.jsonl"
COPY = ".copy.jsonl"
_BLOCK_BYTES = 1 << 20


class Copies:
    """The lines of our own records, in a file of their own."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / NAME
        self._disk = disk

    def keep(self, line: bytes) -> None:
        """Keep a copy of a line that is durable; where that fails it is said, and the line itself still stands."""
        try:
            descriptor = self._disk.open(self._path)
            try:
                self._disk.write(descriptor, b"\n%b\n" % line)  # whatever a crash left stands on a line of its own
                self._disk.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning("note_not_copied", path=str(self._path), error=str(error))

    def by_prev(self) -> dict[str, bytes]:
        """Return the lines by the hash of the line that they follow."""
        if not self._path.exists():
            return {}
        with closing(Plain(self._path)) as reading:
            return {record.prev: record.line for record in segments.records(reading, 0, lambda _: None)}


def copy_of(carried: Path) -> Path:
    """Return where the copy of a file of carried views is."""
    return carried.with_name(carried.name.removesuffix(".jsonl") + COPY)


def mend_carried(carried: Path, disk: Disk) -> bool:
    """Make whichever of a file of carried views and its copy is damaged or gone anew from the other.

    Returns whether the file is whole now; what was damaged stays in the folder under another name.
    """
    copy = copy_of(carried)
    is_whole, is_copied = _is_whole(carried), _is_whole(copy)
    if is_whole and not is_copied:
        _write(carried, copy, disk)
    elif is_copied and not is_whole:
        log.warning("carried_file_repaired", path=str(carried))
        if carried.exists():
            disk.link(carried, carried.with_name(f"damaged-{time_ns()}-{carried.name}"))
        _write(copy, carried, disk)
    return is_whole or is_copied


def _is_whole(path: Path) -> bool:
    """Tell whether every line is good and follows on the one before, and the last one says that it is the last."""
    if not path.exists():
        return False
    with closing(Plain(path)) as reading:
        found = segments.verify(reading)
        is_good = not found.damaged and found.good_end == reading.size_bytes
    return is_good and found.last is not None and found.last.subject == CUT


def _write(source: Path, target: Path, disk: Disk) -> None:
    aside = target.with_name(target.name + PART)
    with closing(Plain(source)) as reading:
        blocks = (reading.pread(_BLOCK_BYTES, offset) for offset in range(0, reading.size_bytes, _BLOCK_BYTES))
        disk.write_file(aside, blocks)
    disk.rename(aside, target)
    disk.fsync_dir(target.parent)
