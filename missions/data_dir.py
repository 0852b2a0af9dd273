"""The directory of a stack: what is where in it, and whose it is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from contracts.errors import SetupError


class DataDir:
    """A directory that one process at a time owns, until it lets go or ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock_file = self.path / "stack.lock"
        self._lock: BinaryIO | None = None

    @property
    def nats(self) -> Path:
        """Where the embedded broker keeps its store."""
        return self.path / "nats"

    @property
    def journal(self) -> Path:
        """The journal's file that is being written."""
        return self.path / "journal" / "missions.jsonl"

    @property
    def logs(self) -> Path:
        """Where every process logs."""
        return self.path / "logs"

    def check(self) -> None:
        """Raise `SetupError` where another process has the directory; makes none."""
        if os.access(self._lock_file, os.F_OK):
            self.take()
            self.let_go()

    def take(self) -> None:
        """Make the directory ours, and make it where there is none; raises `SetupError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._lock = self._lock_file.open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.let_go()
            message = f"another missions up uses {self.path}: stop it, or choose another with --data-dir"
            raise SetupError(message) from error
        except OSError as error:
            message = f"cannot use {error.filename or self.path}: {error.strerror}. Choose another with --data-dir"
            raise SetupError(message) from error

    def let_go(self) -> None:
        """Let another process have the directory; nothing happens where it is not ours."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
