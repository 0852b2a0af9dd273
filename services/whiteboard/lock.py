"""One writer for life: who holds the lock of a journal's folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from contracts.errors import JournalLocked

_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def hold(folder: Path) -> tuple[int, ...]:
    """Lock a folder and return the descriptors that hold it until they are closed; raises `JournalLocked`.

    The file is what everybody understands; the folder itself is locked too, for somebody may take the file away.
    """
    held = (os.open(folder / ".lock", _FILE, 0o600), os.open(folder, _FOLDER))
    try:
        fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        _lock_folder(held[1])
    except BlockingIOError as error:
        for descriptor in held:
            os.close(descriptor)
        message = f"another process writes {folder}: stop it, or use another MISSIONS_DATA_DIR"
        raise JournalLocked(message) from error
    return held


def _lock_folder(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # file systems in a network lock only what was opened for writing
        return
