"""Where artifacts wait to be stored: files, so that a handler in any place can hand over what fits no memory.

A spool belongs to one executor process; what one that was killed left behind is removed by the next one that starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from contracts import artifacts
from contracts.errors import SetupError
from contracts.messages import Artifact
from services.executor.own_folder import LOCK, OwnFolder

_PREFIX = "missions-spool-"
_BLOCK = 1024 * 1024


class Spool:
    """A folder of this process's own, below the system's one for temporary files (`TMPDIR`)."""

    def __init__(self) -> None:
        try:
            self._own = OwnFolder(_PREFIX)
        except OSError as error:
            raise SetupError(f"artifacts need a folder for temporary files: set TMPDIR ({error})") from error
        self.folder = self._own.path
        self._prefix = f"{self.folder}{os.sep}"

    def file(self, name: str) -> Path:
        """Return the file of this name; raises `ValueError` for what would lead elsewhere."""
        if name != Path(name).name or name in {"", ".", "..", LOCK}:
            raise ValueError(f"{name!r} is no file of the spool")
        return self.folder / name

    def place(self, of: str) -> str:
        """Return where a try puts its files: what all their paths begin with. `of` names the try."""
        return f"{self._prefix}{of}."

    def clear(self, place: str) -> None:
        """Remove what a try has left in its place: its process may have been killed while it copied."""
        for path in self.folder.iterdir():
            if str(path).startswith(place):
                path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there and of this spool."""
        with contextlib.suppress(ValueError):
            self.file(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        self._own.remove()


def put(place: str, name: str, data: bytes | str | Path, media_type: str | None, limit: int) -> tuple[Artifact, str]:
    """Copy what a handler hands over into its try's place in the spool; return its claim check and the file.

    Raises `ContractError` or `ValueError` for what cannot be kept, `OSError` where a file cannot be read or written.
    """
    artifacts.check_name(name)
    if name == artifacts.RESULT:
        raise ValueError(f"the artifact name {name!r} is kept for large results: choose another")
    media_type = artifacts.check_media_type(media_type, name)
    if not place:
        raise ValueError("artifacts are kept by an executor only: here is none")
    target = Path(place + secrets.token_hex(16))
    try:
        with target.open("xb") as writing:
            size, sha256 = _copied(data, writing, limit, name)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Artifact(name=name, size_bytes=size, sha256=sha256, media_type=media_type), target.name


def _copied(data: bytes | str | Path, writing: BinaryIO, limit: int, name: str) -> tuple[int, str]:
    """Copy, a block at a time; return size and SHA-256."""
    if isinstance(data, Path):
        with _opened(data) as reading:
            return _stream(reading, writing, limit, name)
    content = data.encode() if isinstance(data, str) else data
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"an artifact is bytes, a text or the Path of a file, not {type(data).__name__}")
    _check_size(len(content), limit, name)
    writing.write(content)
    return len(content), hashlib.sha256(content).hexdigest()


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: an artifact is one file")
    return path.open("rb")


def _stream(reading: BinaryIO, writing: BinaryIO, limit: int, name: str) -> tuple[int, str]:
    _check_size(os.fstat(reading.fileno()).st_size, limit, name)
    digest, size = hashlib.sha256(), 0
    while block := reading.read(_BLOCK):
        size += len(block)
        _check_size(size, limit, name)
        digest.update(block)
        writing.write(block)
    return size, digest.hexdigest()


def _check_size(size: int, limit: int, name: str) -> None:
    if size > limit:
        raise ValueError(f"artifact {name!r} has {size} bytes, {limit} are allowed: raise MISSIONS_ARTIFACT_BYTES")
