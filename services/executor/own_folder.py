"""A temporary folder of this process's own, on which it holds a lock.

What a process that was killed left behind is removed by the next one that wants a folder of the same kind.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path

#: The file in it that is locked; one of this name is there only once it is.
LOCK = "lock"


class OwnFolder:
    """A folder below the system's one for temporary files (`TMPDIR`); raises `OSError` where there can be none."""

    def __init__(self, prefix: str) -> None:
        parent = Path(tempfile.gettempdir())
        remove_abandoned(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        unlocked = self.path / f"{LOCK}.new"
        self._lock = unlocked.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unlocked.rename(self.path / LOCK)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders whose processes are gone: nobody holds their locks."""
    for folder in parent.glob(f"{prefix}*"):
        try:
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody uses it, or it is another user's
            continue
