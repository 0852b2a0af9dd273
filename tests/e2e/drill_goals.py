"""Goals that wait for a file or leave a trace in one: what a drill needs to know where a mission is."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from missions import Context, Reject, goal


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


@goal("hold.fenced")
async def hold_fenced(ctx: Context, gate: str, database: str) -> str:
    """Wait for the file, then have an effect: once per mission, and never after a later owner had it."""
    while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it
        await asyncio.sleep(0.05)
    return await asyncio.to_thread(take_effect, database, ctx.mission_id, ctx.fence)


def take_effect(database: str, mission_id: str, fence: int) -> str:
    """Record an effect with its fence, unless that of a later owner stands there; a refusal is recorded as well."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS effects (mission_id TEXT, fence INTEGER)")
        connection.execute("CREATE TABLE IF NOT EXISTS refused (mission_id TEXT, fence INTEGER)")
        (highest,) = connection.execute("SELECT MAX(fence) FROM effects WHERE mission_id = ?", (mission_id,)).fetchone()
        stale = highest is not None and fence < highest
        table = "refused" if stale else "effects"
        connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (mission_id, fence))  # noqa: S608 - of two names
    if stale:
        raise Reject(f"fence {fence} is older than {highest}")
    return "done"


@goal("linger", isolation="process")
def linger(ctx: Context, folder: str) -> None:
    """Leave the ids of this process and of one that it started in files named by the fence, and stay."""
    program = subprocess.Popen(["/bin/sleep", "600"])
    for name, pid in {"handler": os.getpid(), "zygote": os.getppid(), "program": program.pid}.items():
        Path(folder, f"{name}-{ctx.fence}").write_text(str(pid))
    time.sleep(600)


@goal("step")
async def step(folder: str, name: str, after: Sequence[str] = ()) -> str:
    """Leave a line at the beginning and at the end, and run in between until the gate of that name is there."""
    mark(f"{folder}/trace", f"began {name}")
    await hold(f"{folder}/{name}")
    mark(f"{folder}/trace", f"ended {name}")
    return f"{name}({','.join(after)})"
