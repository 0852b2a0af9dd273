"""The calls on which the journal's promise rests, behind one seam, so that a test can record and fail each."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """The real ones; every method raises `OSError`."""

    def write(self, descriptor: int, data: memoryview | bytes) -> int:
        """Write at the end and return how many bytes were taken: fewer than given is no error."""
        return os.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        """Return when the file's bytes and its length are on disk."""
        os.fdatasync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename; durable only after `fsync_dir`."""
        old.rename(new)

    def fsync_dir(self, folder: Path) -> None:
        """Return when the folder's names are on disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def ftruncate(self, descriptor: int, size_bytes: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, size_bytes)
