"""Child processes: they end with their parent, however it ends, and can be stopped, killed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from contracts.errors import SetupError

#: A second more than a service takes at most.
STOP_WITHIN_S = 5.0

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


class ChildProcess:
    """A process of ours, started by a subclass that puts it into `_process`. `what` names it in errors."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id; raises `SetupError` where it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise SetupError(f"{self._what} is not running")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs, or where it never did."""
        return None if self._process is None else self._process.poll()

    def how_it_ended(self) -> str:
        """Say which signal killed it, or its exit code and its last words."""
        code = self.exit_code
        if code is None:
            return "it was not started" if self._process is None else "it runs"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {self.last_words()}"

    def last_words(self) -> str:
        """Return what it said last; a subclass knows where it logs."""
        return "it said nothing"

    def terminate(self) -> None:
        """Ask the process to end; it may be gone already."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a paused one would not see the first

    def stop(self) -> None:
        """End the process in order, by SIGKILL where that takes over `STOP_WITHIN_S`."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process by SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze the process, and return when it stands still: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        with suppress(AttributeError):  # macOS before Python 3.13
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)
