"""What one-goal missions leave behind in their executor.

A whole stack runs; threads, descriptors, children and resident memory of the executor's process are read from /proc,
after a warm-up and after every part.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from contracts.messages import ChatEvent
from missions.client import Client
from missions.stack import Stack
from missions.whiteboard import Whiteboard

GOALS = Path(__file__).with_name("leak_goals.py")
PLACES = ("loop", "thread", "process")
WARMUP = 500
WITHIN_S = 600.0
_AT_ONCE = 1_000


class Footprint(NamedTuple):
    """What a process holds."""

    threads: int
    descriptors: int
    children: int
    rss_mb: float


def footprint(pid: int) -> Footprint:
    """Read what a process holds now; its children are all that it has, and theirs."""
    process = Path(f"/proc/{pid}")
    rss_kb = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return Footprint(
        threads=len(list((process / "task").iterdir())),
        descriptors=len(list((process / "fd").iterdir())),
        children=descendants(pid),
        rss_mb=int(rss_kb.split()[1]) / 1024,
    )


def descendants(pid: int) -> int:
    """Count the processes below one."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return len(children) + sum(descendants(child) for child in children)


async def run(stack: Stack, place: str, missions: int, done: int) -> float:
    """Have so many missions completed in one place, on top of those that are done; return the seconds."""
    began = time.monotonic()
    async with Client(stack.nats_url, connect_s=10) as client:
        for first in range(0, missions, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, missions))
            await client.say_many(ChatEvent(id=f"{done}-{place}-{n}", text=f"/run leak.{place}") for n in numbers)
    board = Whiteboard(stack.whiteboard_url)
    while (await board.stats())["by_core"]["completed"] < done + missions:
        if time.monotonic() > began + WITHIN_S:
            raise TimeoutError(f"{missions} missions in {place} are not over")
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def measure(stack: Stack, parts: dict[str, int], warmup: int = WARMUP) -> dict[str, tuple[Footprint, float]]:
    """Run the parts one after the other; return what the executor held after each, and the seconds."""
    done = 0
    for place, missions in parts.items():
        warm = min(warmup, missions)
        asyncio.run(run(stack, place, warm, done))
        done += warm
    (pid,) = stack.pids["executor"]
    found = {"before": (footprint(pid), 0.0)}
    for place, missions in parts.items():
        seconds = asyncio.run(run(stack, place, missions, done))
        done += missions
        found[place] = (footprint(pid), seconds)
    return found


def figures(missions: int, processes: int) -> Iterator[str]:
    """Yield the rows of a table: so many missions in the loop and in threads, and so many in processes."""
    parts = {"loop": missions, "thread": missions, "process": processes}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), goals=[str(GOALS)]) as stack:
        found = measure(stack, parts)
    yield "| after | seconds | threads | descriptors | children | RSS MB |\n|---|---|---|---|---|---|"
    for part, (held, seconds) in found.items():
        what = f"{parts[part]:,} in {part}" if part in parts else "the warm-up"
        yield f"| {what} | {seconds:.0f} | {held.threads} | {held.descriptors} | {held.children} | {held.rss_mb:.0f} |"
