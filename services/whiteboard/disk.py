"""The calls on which the journal's promise rests, behind one seam, so that a test can record and fail each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Disk:
    """The real ones; every method raises `OSError`."""

    def open(self, path: Path, *, new: bool = False) -> int:
        """Open a file for appending, making it where there is none; its name is durable only after `fsync_dir`."""
        return os.open(path, _APPEND | (os.O_EXCL if new else 0), 0o600)

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

    def unlink(self, path: Path) -> None:
        """Take a name away; where it is gone already, nothing is left to do."""
        path.unlink(missing_ok=True)

    def link(self, path: Path, other: Path) -> None:
        """Give a file another name; durable only after `fsync_dir` of its folder."""
        os.link(path, other, follow_symlinks=False)

    def write_file(self, path: Path, blocks: Iterable[bytes]) -> None:
        """Write a file that nobody reads yet, and return when its bytes are on disk; its name may still be lost."""
        self.unlink(path)
        descriptor = self.open(path, new=True)
        try:
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    rest = rest[self.write(descriptor, rest) :]
            self.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def reserve(self, path: Path, size_bytes: int) -> None:
        """Make a file that takes room and holds nothing."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        finally:
            os.close(descriptor)

    def free(self, folder: Path) -> tuple[int, int]:
        """Return how many bytes an ordinary user may still write, and how many the disk has."""
        state = os.statvfs(folder)
        return state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
