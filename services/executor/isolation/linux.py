"""What Linux offers for keeping processes, and Python does not."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def signal_when_parent_dies(number: int) -> None:
    """Have the kernel send this process a signal when the thread that made it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def refuse_new_privileges() -> None:
    """Let nothing that is executed from here on gain privileges, as setuid programs do."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def be_first_to_go() -> None:
    """Where memory runs out, have the kernel end this process before those that did not ask for it."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def children() -> list[int]:
    """Return the processes whose parent is this one, which has one thread."""
    pid = os.getpid()
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _parent(path) == pid]


def threads() -> int:
    """Return how many threads this process has, also those that Python does not know of."""
    return len(list(Path("/proc/self/task").iterdir()))


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")
