"""Second copies of the records that are the whiteboard's own: no stream has them, so nothing else could repair them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import structlog

from services.whiteboard import segments
from services.whiteboard.disk import Disk
from services.whiteboard.segment_files import Plain

log = structlog.get_logger()

NAME = "notes.jsonl"


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
