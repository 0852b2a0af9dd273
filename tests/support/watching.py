"""A whiteboard in the test's own loop or in a process of its own, and its journal beside the stream it copies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contracts import codec, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Goal, status_record
from services.runtime.process import Stop
from services.whiteboard.record import GENESIS, Record, chain_hash, decode_line
from services.whiteboard.service import serve
from tests.support.broker import Broker, settings_for
from tests.support.eventually import eventually
from tests.support.orchestrating import free_port


class Board:
    """A whiteboard as its clients see it, and its journal as anybody can read it."""

    def __init__(self, port: int, data_dir: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = data_dir / "journal"

    async def answer(self, path: str) -> tuple[int, Any]:
        """Return status and JSON of an answer; status 0 while nobody listens."""
        return await asyncio.to_thread(self._answer, path)

    async def get(self, path: str) -> Any:
        """Return the JSON of a good answer."""
        status, content = await self.answer(path)
        assert status == 200, content
        return content

    async def ready(self, within_s: float = 10) -> None:
        """Wait until it consumes."""

        async def is_ready() -> bool:
            return (await self.answer("/readyz"))[0] == 200

        await eventually(is_ready, within_s)

    async def reaches(self, seq: int, within_s: float = 15) -> None:
        """Wait until a sequence is on the board."""

        async def is_there() -> bool:
            status, stats = await self.answer("/stats")
            return status == 200 and stats["seq"] >= seq

        await eventually(is_there, within_s)

    async def red(self, part: str, because: str, within_s: float = 10) -> None:
        """Wait until a part says that it does not work and why."""

        async def is_said() -> bool:
            _, content = await self.answer("/readyz")
            return because in (content or {}).get("reasons", {}).get(part, "")

        await eventually(is_said, within_s)

    def records(self) -> list[Record]:
        """Read the whole journal, checking every line and the chain."""
        files = list(self.folder.glob("missions.*-*.jsonl"))
        files.sort(key=lambda path: int(path.name.split(".")[1].split("-")[0]))
        text = b"".join(path.read_bytes() for path in [*files, self.folder / "missions.jsonl"])
        lines = text.removesuffix(b"\n").split(b"\n") if text else []
        found = [decode_line(line) for line in lines]
        assert [record.prev for record in found] == [GENESIS, *map(chain_hash, lines)][: len(found)]
        return found

    def _answer(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None


@asynccontextmanager
async def whiteboard(nats_url: str, data_dir: Path) -> AsyncIterator[Board]:
    """Run a whiteboard in this loop, wait until it consumes, and stop it in an orderly way."""
    async with starting_whiteboard(nats_url, data_dir) as board:
        await board.ready()
        yield board


@asynccontextmanager
async def starting_whiteboard(nats_url: str, data_dir: Path) -> AsyncIterator[Board]:
    """Run a whiteboard in this loop, ready or not."""
    stop, port = Stop(), free_port()
    service = asyncio.create_task(serve(settings_for(nats_url, data_dir=data_dir, http_port=port), stop))
    try:
        yield Board(port, data_dir)
    finally:
        stop.set()
        await service


class Process:
    """A whiteboard in a process of its own, to be killed."""

    def __init__(self, nats_url: str, data_dir: Path) -> None:
        port = free_port()
        self.board = Board(port, data_dir)
        self._environment = os.environ | {
            "MISSIONS_NATS_URL": nats_url,
            "MISSIONS_DATA_DIR": str(data_dir),
            "MISSIONS_HTTP_PORT": str(port),
            "MISSIONS_LOG_LEVEL": "error",
        }
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        command = [sys.executable, "-m", "services.whiteboard"]
        self._process = subprocess.Popen(command, env=self._environment, cwd=Path(__file__).parents[2])

    def send(self, number: signal.Signals) -> None:
        """Send a signal that ends nothing."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        return self._process.wait(10)


async def complete(broker: Broker, missions: int) -> list[str]:
    """Put missions with their three records on the broker, and return their ids."""

    async def one() -> str:
        mission_id = await broker.propose(Goal(id="g1", kind="echo"))
        seq = 0
        for number, status in enumerate((Status.ACTIVE, Status.COMPLETED), 1):
            record = status_record(
                event_id=f"{mission_id}.1.{number}", mission_id=mission_id, status=status, actor="test", attempt=1
            )
            subject = subjects.status("default", mission_id)
            seq = await broker.missions.write(subject, codec.encode(record), expected=seq)
        return mission_id

    return await asyncio.gather(*(one() for _ in range(missions)))


async def assert_same(broker: Broker, board: Board) -> None:
    """Compare the journal with the stream: every sequence once, in order, and every body byte for byte."""
    state = await broker.bus.stream_state(topology.MISSIONS)
    found = [record for record in board.records() if not record.is_note]
    assert [record.seq for record in found] == list(range(1, state.last_seq + 1))
    for start in range(0, len(found), 200):
        part = found[start : start + 200]
        stored = await asyncio.gather(*(broker.bus.message(topology.MISSIONS, record.seq) for record in part))
        assert [(record.subject, record.data) for record in part] == [
            (item.subject, item.data) for item in stored if item
        ]
