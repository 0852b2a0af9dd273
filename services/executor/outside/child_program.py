"""One program as a child of the executor: it, and all that it started, ends with the call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.executor.outside import launcher
from services.executor.outside.bounded import Kept

#: Between SIGTERM and SIGKILL.
GRACE_S = 2.0
#: For what is still in the pipes when everything is over; a process that left the group may hold them open.
_DRAIN_S = 1.0
_STDOUT = 1


def launched(command_line: Sequence[str], grace_s: float, after: Literal["end", "leave"]) -> list[str]:
    """Return the command line that runs another one for as long as the *thread* that starts it lives, at most.

    It must be started in a session of its own. `after` says what becomes of those that the program left behind.
    """
    return [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), str(grace_s), after, *command_line]


@dataclass(frozen=True)
class Ended:
    """How a program ended. `exit_code` is the negative number of the signal that ended it, if one did."""

    exit_code: int
    stdout: Kept
    stderr: Kept


class _Output(asyncio.SubprocessProtocol):
    """Keeps what a program says, and notes its end."""

    def __init__(self, stdout: Kept, stderr: Kept, on_output: Callable[[Kept], None]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.exited, self.closed = asyncio.Event(), asyncio.Event()
        self._on_output = on_output

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self.stdout if fd == _STDOUT else self.stderr
        kept.add(data)
        self._on_output(kept)

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


async def run(
    command_line: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    keep: tuple[Kept, Kept],
    on_output: Callable[[Kept], None],
) -> Ended:
    """Run a program to its end; cancelling this ends it, by SIGKILL where `GRACE_S` after SIGTERM is not enough.

    What it left running in its group is killed as well. `keep` gets stdout and stderr.
    """
    transport, output = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Output(*keep, on_output),
        *launched(command_line, GRACE_S, "leave"),
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    try:
        _feed(transport, stdin)
        await output.exited.wait()
    finally:
        await _end(transport, output)
    code = transport.get_returncode()
    return Ended(-signal.SIGKILL if code is None else code, *keep)


def _feed(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    pipe: Any = transport.get_pipe_transport(0)  # that of uvloop is no `asyncio.WriteTransport`
    if data:
        pipe.write(data)
    pipe.close()  # once all of it is written


async def _end(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    """Have the launcher end what still runs, which takes it `GRACE_S` at most; kill the rest, let go of the pipes."""
    try:
        if not output.exited.is_set():
            transport.terminate()
            await _within(GRACE_S + _DRAIN_S, output.exited)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        try:
            await _within(_DRAIN_S, output.closed)
        finally:
            transport.close()


async def _within(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
