"""Runs a program as a group of processes that ends whole: `launcher.py <parent> <grace> <end|leave> <command …>`.

It leads a session of its own, which it must be started in, and stays between the executor and the program. When it gets
SIGTERM, or the *thread* that started it ends, however that happens, the group gets SIGTERM and, `grace` seconds later,
SIGKILL. When the program ends, it ends in the same way and leaves what the program left behind to its parent, or with
`end` kills it, and itself with it. An interpreter of its own (some 15 ms), because code between fork and exec of a
process with threads may meet a lock that nobody will release.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOT_FOUND = 127
_END = "end"


def main(parent: int, grace_s: float, after: str, command: list[str]) -> NoReturn:
    """Start the command, wait for it, and end as it ended."""

    def begin_end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, grace_s)
        os.killpg(0, signal.SIGTERM)

    signal.signal(signal.SIGALRM, lambda number, frame: os.killpg(0, signal.SIGKILL))
    signal.signal(signal.SIGTERM, begin_end)
    control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    program = os.fork() or become(command)
    os.close(0)
    os.close(1)
    _, status = os.waitpid(program, 0)
    if after == _END:
        os.killpg(0, signal.SIGKILL)
    end_like(status)


def become(command: list[str]) -> NoReturn:
    """Turn this process into the command: no core file, no new privileges."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what it starts would too
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is the point: no shell
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(_NOT_FOUND)


def control(option: int, *values: int) -> None:
    """Ask something of the kernel, where it is Linux."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(option, *values)


def end_like(status: int) -> NoReturn:
    """End with the exit code, or by the signal, that ended the program."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
