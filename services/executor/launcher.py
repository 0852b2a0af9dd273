"""Runs a program as a group of processes that ends whole: `python -I -S launcher.py <parent> <grace> <command …>`.

It stays between the executor and the program. When the program ends, what it left behind is killed; when this process
gets SIGTERM, or the *thread* that started it ends, however that happens, the group gets SIGTERM and, `grace` seconds
later, SIGKILL. It ends as the program did. An interpreter of its own (some 15 ms), because code between fork and exec
of a process with threads may meet a lock that nobody will release.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOT_FOUND = 127


def main(parent: int, grace_s: float, command: list[str]) -> NoReturn:
    """Start the command, wait for it, and end as it ended."""
    group = [0]

    def begin_end(number: int, frame: FrameType | None) -> None:
        if not group[0]:
            os._exit(128 + number)
        signal_group(group[0], signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, grace_s)

    signal.signal(signal.SIGALRM, lambda number, frame: signal_group(group[0], signal.SIGKILL))
    signal.signal(signal.SIGTERM, begin_end)
    control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    group[0] = os.fork() or become(command)
    with suppress(OSError):  # the child does the same; whoever is first
        os.setpgid(group[0], group[0])
    os.close(0)
    os.close(1)
    _, status = os.waitpid(group[0], 0)
    signal_group(group[0], signal.SIGKILL)
    end_like(status)


def become(command: list[str]) -> NoReturn:
    """Turn this process into the command: a group of its own, no core file, no new privileges."""
    os.setpgid(0, 0)
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


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to all of a group, if there is anybody."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


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
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
