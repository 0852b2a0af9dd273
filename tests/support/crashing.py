"""Disks that record, and every state in which a crash may leave what was recorded.

The model: bytes are durable once their file was synced, names once their folder was. Of bytes that were not, any
subset of the writes may be there, the last one in part; what is missing before something that is there reads as NULs.
Names change in order, as in every journalling file system, and any number of the last changes may be undone.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from services.whiteboard.disk import Disk

#: A part of a write is one of about so many.
_PARTS = 16


class Call(Struct, frozen=True):
    """One call that was recorded: on a file, on a name, or a folder's sync; `acked` marks what was promised so far."""

    name: str
    file: int = -1
    path: str = ""
    to: str = ""
    data: bytes = b""
    size: int = 0
    seq: int = 0


class RecordingDisk(Disk):
    """Does what it is told, unsynced, and writes it down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[Call] = []
        self._numbers = itertools.count()
        self._files: dict[str, int] = {}  #: path to file
        self._open: dict[int, int] = {}  #: descriptor to file

    def acked(self, seq: int) -> None:
        """Mark that everything up to a sequence was promised."""
        self.calls.append(Call("acked", seq=seq))

    def open(self, path: Path, *, new: bool = False) -> int:
        descriptor = super().open(path, new=new)
        name = self._name(path)
        if name not in self._files:
            self._files[name] = next(self._numbers)
            self.calls.append(Call("create", self._files[name], name))
        self._open[descriptor] = self._files[name]
        return descriptor

    def write(self, descriptor: int, data: memoryview | bytes) -> int:
        offset = os.fstat(descriptor).st_size
        self.calls.append(Call("write", self._open[descriptor], data=bytes(data), size=offset))
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self.calls.append(Call("fdatasync", self._open[descriptor]))

    def ftruncate(self, descriptor: int, size_bytes: int) -> None:
        self.calls.append(Call("ftruncate", self._open[descriptor], size=size_bytes))
        super().ftruncate(descriptor, size_bytes)

    def rename(self, old: Path, new: Path) -> None:
        self.calls.append(Call("rename", path=self._name(old), to=self._name(new)))
        self._files[self._name(new)] = self._files.pop(self._name(old))
        super().rename(old, new)

    def link(self, path: Path, other: Path) -> None:
        self.calls.append(Call("link", path=self._name(path), to=self._name(other)))
        self._files[self._name(other)] = self._files[self._name(path)]
        super().link(path, other)

    def unlink(self, path: Path) -> None:
        if path.exists():
            self.calls.append(Call("unlink", path=self._name(path)))
            del self._files[self._name(path)]
        super().unlink(path)

    def fsync_dir(self, folder: Path) -> None:
        self.calls.append(Call("fsync_dir", path=self._name(folder)))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


class State(Struct, frozen=True):
    """What a crash leaves: the files with their bytes, and the last sequence that was promised before it."""

    acked: int
    files: tuple[tuple[str, bytes], ...]

    def put(self, root: Path) -> None:
        """Make the files."""
        for name, content in self.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)


def crash_states(calls: list[Call]) -> Iterator[State]:
    """Yield every state, each once, in which a crash after any of the calls may leave the disk."""
    seen = set()
    for end in range(len(calls) + 1):
        done = calls[:end]
        acked = max((call.seq for call in done if call.name == "acked"), default=0)
        contents = [list(_contents(done, file)) for file in sorted({call.file for call in done} - {-1})]
        for names in _names(done):
            used = sorted(set(names.values()))
            for chosen in itertools.product(*(contents[file] for file in used)):
                bytes_of = dict(zip(used, chosen, strict=True))
                state = State(acked, tuple(sorted((name, bytes_of[file]) for name, file in names.items())))
                if state not in seen:
                    seen.add(state)
                    yield state


def _names(done: list[Call]) -> Iterator[dict[str, int]]:
    """Yield the names that may be there: all changes up to the last sync of a folder, and any number of those after."""
    changes = [number for number, call in enumerate(done) if call.name in {"create", "rename", "link", "unlink"}]
    synced = max((number for number, call in enumerate(done) if call.name == "fsync_dir"), default=-1)
    for last in range(sum(number < synced for number in changes), len(changes) + 1):
        names: dict[str, int] = {}
        for number in changes[:last]:
            _change(names, done[number])
        yield names


def _change(names: dict[str, int], call: Call) -> None:
    if call.name == "create":
        names[call.path] = call.file
    elif call.name == "rename":
        names[call.to] = names.pop(call.path)
    elif call.name == "link":
        names[call.to] = names[call.path]
    else:
        del names[call.path]


def _contents(done: list[Call], file: int) -> Iterator[bytes]:
    """Yield what a file may hold."""
    on_file = [call for call in done if call.file == file and call.name in {"write", "ftruncate", "fdatasync"}]
    synced = max((number for number, call in enumerate(on_file) if call.name == "fdatasync"), default=-1)
    base = b""
    for call in on_file[: synced + 1]:
        base = _applied(base, call)
    loose = on_file[synced + 1 :]
    for there in itertools.product((False, True), repeat=len(loose)):
        content = base
        for call, is_there in zip(loose, there, strict=True):
            content = _applied(content, call) if is_there else content
        yield content
    if loose and loose[-1].name == "write":
        length = len(loose[-1].data)
        for size in {1, length - 1, *range(length // _PARTS, length, max(1, length // _PARTS))}:
            content = base
            for call in loose[:-1]:
                content = _applied(content, call)
            yield _applied(content, Call("write", data=loose[-1].data[:size], size=loose[-1].size))


def _applied(content: bytes, call: Call) -> bytes:
    if call.name == "write":
        return content[: call.size].ljust(call.size, b"\0") + call.data + content[call.size + len(call.data) :]
    return content[: call.size] if call.name == "ftruncate" else content


class NthFails(Disk):
    """Fails one call, counted from 0: with an error, or by taking a part of what it is given."""

    def __init__(self, number: int, error: int) -> None:
        self.left = number
        self.error = error

    def open(self, path: Path, *, new: bool = False) -> int:
        self._count()
        return super().open(path, new=new)

    def write(self, descriptor: int, data: memoryview | bytes) -> int:
        if self.error == 0 and self.left == 0 and len(data) > 1:
            data = bytes(data[: len(data) // 2])
        self._count()
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._count()

    def ftruncate(self, descriptor: int, size_bytes: int) -> None:
        self._count()
        super().ftruncate(descriptor, size_bytes)

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def link(self, path: Path, other: Path) -> None:
        self._count()
        super().link(path, other)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)

    def fsync_dir(self, folder: Path) -> None:
        self._count()

    def _count(self) -> None:
        self.left -= 1
        if self.left == -1 and self.error:
            raise OSError(self.error, os.strerror(self.error))


#: An error of the disk, no room, and a short write without an error.
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short write": 0}
