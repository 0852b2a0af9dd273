"""Goals that wait for a file or leave a trace in one: what a drill needs to know where a mission is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from missions import Context, goal


@goal("hold")
async def hold(gate: str) -> str:
    """Run until the file is there."""
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it
        await asyncio.sleep(0.02)
    return "opened"


@goal("mark")
def mark(file: str, line: str) -> str:
    """Append a line to a file: one write, so that lines of several writers do not mix."""
    with Path(file).open("ab", buffering=0) as trace:
        trace.write(f"{line}\n".encode())
    return line


@goal("approve")
def approve(ctx: Context, file: str, line: str) -> str:
    """Append a line to a file once somebody has said yes."""
    if ctx.ask(f"Write {line}?", bool):
        mark(file, line)
    return line
