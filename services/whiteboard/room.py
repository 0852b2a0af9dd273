"""Room on the disk: the mark below which nothing more is taken, and a reserve for what is under way when it is full."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import structlog

from services.whiteboard.disk import Disk

log = structlog.get_logger()

MIN_FREE_BYTES = 256 * 1024 * 1024
_RESERVE_BYTES = 16 * 1024 * 1024
#: On a small disk the mark is this part of it, and the reserve a quarter of the mark.
_PART = 20
_MIB = 1024 * 1024


class Room:
    """The room in one folder. `shortage` says why nothing may be taken now, and is empty when there is room."""

    def __init__(self, folder: Path, disk: Disk | None = None, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        self._folder = folder
        self._file = folder / "reserve"
        self._disk = disk or Disk()
        self._min_free_bytes = min_free_bytes
        self.free_bytes = 0
        self.shortage = ""

    def look(self) -> str:
        """Look at the disk and return `shortage`; it ends a little above the mark where it began."""
        self.free_bytes, total = self._disk.free(self._folder)
        mark = min(self._min_free_bytes, total // _PART)
        reserve = min(_RESERVE_BYTES, mark // 4)
        wanted = mark + reserve if self.shortage or not self._file.exists() else mark
        if self.free_bytes < wanted:
            self._is_short(mark)
        elif self.shortage or not self._file.exists():
            self._is_enough(reserve)
        return self.shortage

    def release(self) -> None:
        """Give the reserve to whoever writes now: the disk is full."""
        if self._file.exists():
            log.warning("reserve_released", folder=str(self._folder))
            self._disk.unlink(self._file)

    def _is_short(self, mark: int) -> None:
        if not self.shortage:
            log.warning("disk_short", folder=str(self._folder), free_bytes=self.free_bytes, mark_bytes=mark)
        self.shortage = (
            f"{self.free_bytes / _MIB:.0f} MiB are free at {self._folder}, below the mark of {mark / _MIB:.0f} MiB:"
            " nothing is taken until there is room"
        )

    def _is_enough(self, reserve: int) -> None:
        self.shortage = ""
        with suppress(OSError):  # the disk filled up meanwhile, or cannot reserve: the mark alone has to do
            self._disk.reserve(self._file, reserve)
