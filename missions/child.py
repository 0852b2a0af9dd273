"""Child processes that end with their parent, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Asks the kernel to end the process with the thread that started it, then becomes the command: `exec` keeps the process
# id. An interpreter of its own (some 12 ms), because `preexec_fn` runs Python between fork and exec, where a lock that
# another thread held stays locked. SIGKILL, because a paused process sees no other signal; what we start bears it.
_DIE_WITH_PARENT = """
import ctypes, os, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
prctl and prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL; Linux only
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])
"""


def dying_with_parent(command: Sequence[str | Path]) -> list[str]:
    """Return the command line that runs `command` for as long as the *thread* that starts it lives, at most."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *(str(word) for word in command)]
