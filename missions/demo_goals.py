"""The goals of `missions demo work`. Each notes in a file that it runs, so that the demo can count from outside."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from missions import Context, goal

_STEP_S = 0.15
_MIB = 1024 * 1024


def note(path: str, what: str) -> None:
    """Append a line to the file; one write, so that lines of several processes do not mix."""
    with Path(path).open("ab", buffering=0) as file:
        file.write(f"{what}\n".encode())


@goal("demo.fetch")
async def fetch(ctx: Context, notes: str, rows: int) -> dict[str, int]:
    """Fetch what the others work on."""
    note(notes, ctx.goal_id)
    return {"rows": rows}


@goal("demo.check", retries=3, backoff=0.1)
def check(ctx: Context, notes: str, rows: int, flaky: int = 0) -> str:
    """Look at every row; the first `flaky` tries fail."""
    note(notes, ctx.goal_id)
    if ctx.attempt <= flaky:
        raise ConnectionError("the test machine does not answer")
    ctx.log.info("checked", rows=rows)
    return f"{rows} rows are fine"


@goal("demo.render", isolation="process", timeout=60)
def render(ctx: Context, notes: str, size_mb: Annotated[int, Field(ge=1, le=100)]) -> dict[str, int | str]:
    """Make a large file in a process of its own, and keep it as an artifact."""
    note(notes, ctx.goal_id)
    data = secrets.token_bytes(_MIB) * size_mb
    made = ctx.artifact("release.bin", data)
    return {"size_bytes": made.size_bytes, "sha256": hashlib.sha256(data).hexdigest()}


@goal("demo.measure")
def measure(ctx: Context, notes: str, size_bytes: int) -> str:
    """Say how large the file is."""
    note(notes, ctx.goal_id)
    return f"{size_bytes // _MIB} MiB"


@goal("demo.migrate", timeout=60)
def migrate(ctx: Context, notes: str, steps: int) -> int:
    """Do one step after the other, and save how far it is: a later attempt goes on from there."""
    note(notes, ctx.goal_id)
    for step in range(ctx.checkpoint() or 0, steps):
        ctx.progress(step, steps, note=f"step {step + 1}")
        note(notes, f"{ctx.goal_id} step {step + 1}")
        time.sleep(_STEP_S)
        ctx.checkpoint(step + 1)
    return steps


@goal("demo.approve")
def approve(ctx: Context, notes: str, what: str) -> bool:
    """Ask a person."""
    note(notes, ctx.goal_id)
    approved: bool = ctx.ask(f"Publish {what}?", schema=bool, expires=600)
    return approved


@goal("demo.publish")
async def publish(ctx: Context, notes: str, approved: bool) -> str:
    """Publish, or not."""
    note(notes, ctx.goal_id)
    return "published" if approved else "held back"


@goal("demo.stubborn", isolation="process")
def stubborn(notes: str) -> None:
    """Work for ever, and never look whether anybody wants it to stop."""
    note(notes, f"pid {os.getpid()}")
    while True:
        sum(range(1_000))
