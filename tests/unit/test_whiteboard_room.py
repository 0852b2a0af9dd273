from __future__ import annotations

import errno
from pathlib import Path

from services.whiteboard.disk import Disk
from services.whiteboard.room import Room

MIB = 1024 * 1024


class SmallDisk(Disk):
    """A disk of a given size with so much room."""

    def __init__(self, total: int, free: int) -> None:
        self.total = total
        self.room = free

    def free(self, folder: Path) -> tuple[int, int]:
        return self.room, self.total

    def reserve(self, path: Path, size_bytes: int) -> None:
        if size_bytes > self.room:
            raise OSError(errno.ENOSPC, "no space left")
        super().reserve(path, size_bytes)
        self.room -= size_bytes

    def unlink(self, path: Path) -> None:
        self.room += path.stat().st_size if path.exists() else 0
        super().unlink(path)


def test_below_the_mark_nothing_is_taken_until_there_is_room_for_the_reserve_too(tmp_path: Path) -> None:
    disk = SmallDisk(100_000 * MIB, 1_000 * MIB)
    room = Room(tmp_path, disk, 256 * MIB)
    assert room.look() == ""
    assert (tmp_path / "reserve").stat().st_size == 16 * MIB
    disk.room = 255 * MIB
    assert "255 MiB are free" in room.look()
    assert room.free_bytes == 255 * MIB
    room.release()
    assert not (tmp_path / "reserve").exists()
    disk.room = 271 * MIB
    assert "below the mark of 256 MiB" in room.look()
    disk.room = 273 * MIB
    assert room.look() == ""
    assert (tmp_path / "reserve").exists()


def test_the_mark_is_a_twentieth_of_a_small_disk(tmp_path: Path) -> None:
    disk = SmallDisk(100 * MIB, 6 * MIB)
    room = Room(tmp_path, disk)
    disk.room = 7 * MIB
    assert room.look() == ""
    disk.room = 4 * MIB
    assert "mark of 5 MiB" in room.look()


def test_a_disk_that_cannot_reserve_does_without(tmp_path: Path) -> None:
    class Stubborn(SmallDisk):
        def reserve(self, path: Path, size_bytes: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "not here")

    assert Room(tmp_path, Stubborn(100_000 * MIB, 1_000 * MIB)).look() == ""
