"""The journal's files: their names, and how each is opened, compressed or not. Never writes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from services.whiteboard.packed import Packed

OPEN_NAME = "missions.jsonl"
#: What a file is called while it is written: nobody reads it, and a start takes it away.
PART = ".part"
PACKED = ".gz"
#: Behind every sequence: where the open file ends is not settled.
NO_END = 1 << 63
_SEALED = re.compile(r"missions\.(\d+)-(\d+)(?:\.(\d+))?\.jsonl(\.gz)?")


class Segment(msgspec.Struct, frozen=True):
    """One file; `size_bytes` is how much of it is durable on disk, `last` the sequence of its last record."""

    path: Path
    first: int
    last: int
    size_bytes: int

    @property
    def is_open(self) -> bool:
        """Whether it is the one that is being written."""
        return self.path.name == OPEN_NAME

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed."""
        return self.path.suffix == PACKED

    @property
    def order(self) -> tuple[int, int]:
        """What it is sorted by: two that meet in one sequence, as a note has that of a record, stay apart."""
        return self.first, self.last

    @property
    def name(self) -> str:
        """Its file name, compressed or not."""
        return self.path.name.removesuffix(PACKED)

    def open(self) -> Reading:
        """Open it for reading up to what is durable; the caller closes it. A file that is gone has nothing."""
        try:
            return Packed(self.path) if self.is_packed else Plain(self.path, self.size_bytes)
        except FileNotFoundError:
            return Missing()


class Reading(Protocol):
    """A segment that is open for reading."""

    @property
    def size_bytes(self) -> int: ...
    def pread(self, size: int, offset: int) -> bytes: ...
    def close(self) -> None: ...


class Plain:
    """A file as it is, as far as it is durable."""

    def __init__(self, path: Path, size_bytes: int | None = None) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.size_bytes = os.fstat(self._descriptor).st_size if size_bytes is None else size_bytes

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes of the file, as `os.pread` does."""
        return os.pread(self._descriptor, max(0, min(size, self.size_bytes - offset)), offset)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class Missing:
    """A file that somebody took away."""

    size_bytes = 0

    def pread(self, _size: int, _offset: int) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


def free_name(folder: Path, first: int, last: int) -> Path:
    """Return the path of a full segment; a number tells it from one that is there already."""
    path = folder / f"missions.{first}-{last}.jsonl"
    number = 0
    while os.path.lexists(path) or os.path.lexists(packed_path(path)):
        number += 1
        path = folder / f"missions.{first}-{last}.{number}.jsonl"
    return path


def packed_path(path: Path) -> Path:
    """Return where a full segment stands once it is compressed."""
    return path.with_name(path.name + PACKED)


def sealed(folder: Path) -> list[Segment]:
    """Return the full segments in stream order; of one that stands there compressed as well, the plain file."""
    found: dict[tuple[int, int, int], Segment] = {}
    for path in sorted(folder.iterdir()):
        if name := _SEALED.fullmatch(path.name):
            first, last, number = int(name[1]), int(name[2]), int(name[3] or 0)
            with suppress(FileNotFoundError):  # it was compressed or dropped just now
                found.setdefault((first, last, number), Segment(path, first, last, path.stat().st_size))
    return [found[key] for key in sorted(found)]
