"""A disk of bounded size for a process of ours: a tmpfs that is mounted while a stack runs, on Linux, by root."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from missions.testing.backend import BALLAST, Unsupported

_CHUNK = bytes(64 * 1024)
_NEEDS = "a small disk for a process is a tmpfs, which needs Linux and root (CAP_SYS_ADMIN)"


class SmallDisk:
    """A tmpfs of so many MiB on a folder; what is on it goes with `unmount`."""

    def __init__(self, folder: Path, mb: int) -> None:
        self._folder = folder
        self._mb = mb
        self._mounted = False

    def mount(self) -> None:
        """Make the folder and mount on it; raises `Unsupported` where this process may not."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise Unsupported(f"{_NEEDS}: use the backend containers")
        self._folder.mkdir(mode=0o700, parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._mb}m,mode=0700", "missions", str(self._folder))
        self._mounted = True

    def unmount(self) -> None:
        """Take it away, at once even where a process that does not end still has a file open on it."""
        if self._mounted:
            self._mounted = False
            _run("umount", "--lazy", str(self._folder))

    def fill(self) -> None:
        """Write until there is no room."""
        with (self._folder / BALLAST).open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_CHUNK)  # a short write takes what is left, the next one is refused
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give the room back."""
        (self._folder / BALLAST).unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)  # noqa: S603 - no shell
    except FileNotFoundError as error:
        raise Unsupported(f"{_NEEDS}, and the program {command[0]}: use the backend containers") from error
    except subprocess.CalledProcessError as error:
        raise Unsupported(f"{_NEEDS}: {error.stderr.strip()}: use the backend containers") from error
