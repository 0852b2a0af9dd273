"""The kind `command`: runs a program that MISSIONS_COMMANDS lists. No shell, no path and no program from a message."""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from services.executor.context import Context
from services.executor.outside import bounded, child_program, programs
from services.executor.outside.bounded import Kept
from services.executor.outside.child_program import Ended
from services.executor.own_folder import OwnFolder
from services.executor.registry import goal

Word = Annotated[str, Field(max_length=4_096)]
Words = Annotated[tuple[Word, ...], Field(max_length=256)]

_STDOUT_BYTES = 64 * 1024
_STDERR_BYTES = 8 * 1024
_ERROR_CHARS = 1_500


class CommandFailed(Exception):
    """The program ended with something else than 0."""


@goal("command")
async def command(
    ctx: Context,
    name: str,
    args: Words = (),
    stdin: Annotated[str, Field(max_length=65_536)] = "",
) -> dict[str, Any]:
    """Run a listed program: its exit code, stdout and stderr. Anything but 0 fails, with the end of stderr."""
    allowed = programs.configured()
    command_line = allowed.get(name).command_line(args)
    said = Said(ctx)
    async with scratch() as home:
        ended = await child_program.run(
            command_line,
            cwd=home,
            env=allowed.environment_of(str(home)),
            stdin=stdin.encode(),
            keep=(said.stdout, said.stderr),
            on_output=said.progress,
        )
    if ended.exit_code != 0:
        raise CommandFailed(failure(name, ended))
    return await asyncio.to_thread(result, ended)


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """Make an empty directory for one run, and remove it with all that was put there, off the event loop."""
    folder = Path(tempfile.mkdtemp(dir=runs()))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@functools.cache
def runs() -> Path:
    """Return where this process keeps the directories of its runs; what a killed one left is removed on the way."""
    own = OwnFolder("missions-commands-")
    atexit.register(own.remove)
    return own.path


class Said:
    """What the program says, as progress: how many bytes, and the last line."""

    def __init__(self, ctx: Context) -> None:
        self.stdout, self.stderr = Kept(_STDOUT_BYTES, 0), Kept(0, _STDERR_BYTES)
        self._ctx = ctx

    def progress(self, kept: Kept) -> None:
        """Tell of what just came."""
        self._ctx.progress(self.stdout.total + self.stderr.total, note=kept.last_line())


def result(ended: Ended) -> dict[str, Any]:
    """Return what the goal returns: text, whatever bytes it was, cut to what a result may have."""
    stdout, stderr = ended.stdout.text(), ended.stderr.text()
    kept, kept_err = bounded.head(stdout, _STDOUT_BYTES), bounded.head(stderr, _STDERR_BYTES)
    cut = ended.stdout.truncated or ended.stderr.truncated or (kept, kept_err) != (stdout, stderr)
    return {"exit_code": ended.exit_code, "stdout": kept, "stderr": kept_err, "truncated": cut}


def failure(name: str, ended: Ended) -> str:
    """Say how a program failed, with the last it said on stderr, or else on stdout."""
    how = f"exit code {ended.exit_code}" if ended.exit_code > 0 else f"signal {_signal_name(-ended.exit_code)}"
    said = (ended.stderr.text() or ended.stdout.text()).strip()[-_ERROR_CHARS:]
    return f"{name} ended with {how}" + (f": {said}" if said else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
