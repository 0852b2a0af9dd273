"""All three services in the test's own loop, and the command line as a process beside them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.broker import connected, settings_for
from tests.support.executing import executing
from tests.support.orchestrating import orchestrator
from tests.support.watching import Board, whiteboard

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def whole(nats_url: str, data_dir: Path, *goals: Callable[..., Any]) -> AsyncIterator[Board]:
    """Run orchestrator, executor and whiteboard, all of them consuming."""
    async with whiteboard(nats_url, data_dir) as board, working(nats_url, *goals):
        yield board


@asynccontextmanager
async def working(nats_url: str, *goals: Callable[..., Any]) -> AsyncIterator[None]:
    """Run orchestrator and executor."""
    settings = settings_for(nats_url)
    async with connected(nats_url), orchestrator(settings), executing(settings, *goals):
        yield


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document that it printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The documents that it printed, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """`missions …` as a process, for which these services are the ones there are."""

    def __init__(self, nats_url: str, whiteboard_url: str = "http://127.0.0.1:1", **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MISSIONS_", "NATS_"))}
        named = {f"MISSIONS_{name.upper()}": value for name, value in settings.items()}
        self._environment = kept | named | {"NATS_URL": nats_url, "MISSIONS_WHITEBOARD_URL": whiteboard_url}

    async def __call__(self, *args: str) -> Ran:
        """Run it to its end."""
        process = await self.start(*args)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        """Start it."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "missions",
            *args,
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
