from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from contracts.errors import WriteError
from services.runtime.bus import ApiError
from services.whiteboard.record import decode_line
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually
from tests.support.watching import Process, assert_same, complete

#: `WHITEBOARD_KILLS=300 pytest …` for the long version.
KILLS = int(os.environ.get("WHITEBOARD_KILLS", "4"))
_TAIL_BYTES = 65_536


@pytest.mark.timeout(90 + 20 * KILLS)
async def test_the_journal_of_a_whiteboard_killed_under_load_is_the_stream(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker:
        process = Process(nats_url, tmp_path)
        file = tmp_path / "journal" / "missions.jsonl"
        load = asyncio.ensure_future(_load(broker))
        at_the_last_kill = 0
        try:
            for _ in range(KILLS):
                await eventually(lambda: _last_seq(file) > at_the_last_kill, 120)  # noqa: B023 - called at once
                process.end(signal.SIGKILL)
                at_the_last_kill = await eventually(lambda: _end(broker), 60)
                process.start()
            load.cancel()
            seq = await eventually(lambda: _end(broker), 60)
            await process.board.reaches(seq, 60)
            await assert_same(broker, process.board)
            stats = await process.board.get("/stats")
            assert stats["journal"]["damaged_lines"] == stats["journal"]["gaps"] == stats["records"]["illegal"] == 0
            assert process.end(signal.SIGTERM) == 0
        finally:
            load.cancel()
            process.end(signal.SIGKILL)


async def _load(broker: Broker) -> None:
    while True:
        with suppress(WriteError):  # a broker that is slow to answer: what was stored is on the stream all the same
            await complete(broker, 40)


async def _end(broker: Broker) -> int:
    """Return the stream's last sequence; 0 while the broker is too busy to say."""
    with suppress(ApiError, WriteError):
        return (await broker.bus.stream_state("MISSIONS")).last_seq
    return 0


def _last_seq(file: Path) -> int:
    """Return the sequence of the last whole line; the load must never be further ahead than one start takes."""
    if not file.exists():
        return 0
    with file.open("rb") as reading:
        reading.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = reading.read().split(b"\n")[:-1]
    return decode_line(lines[-1]).seq if lines else 0
