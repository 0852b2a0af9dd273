"""One writer for life: who holds the lock of a journal's folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from contracts.errors import JournalLocked


def hold(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds it until it is closed; raises `JournalLocked`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(folder / ".lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        message = f"another process writes {folder}: stop it, or use another MISSIONS_DATA_DIR"
        raise JournalLocked(message) from error
    return descriptor
