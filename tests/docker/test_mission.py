"""Missions on the broker's official image, through a crash of its container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contracts import ids
from services.orchestrator.service import serve as orchestrate
from services.runtime.process import Stop
from services.whiteboard.service import serve as keep_whiteboard
from tests.docker.conftest import BrokerContainer
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually
from tests.support.executing import executing


@asynccontextmanager
async def services(nats_url: str, data_dir: Path) -> AsyncIterator[Broker]:
    """Run all three services on the test's own loop."""
    async with connected(nats_url) as broker:
        settings = settings_for(nats_url, data_dir=data_dir)
        stop = Stop()
        running = [asyncio.ensure_future(serve(settings, stop)) for serve in (orchestrate, keep_whiteboard)]
        try:
            async with executing(settings):
                yield broker
        finally:
            stop.set()
            await asyncio.gather(*running)


async def journalled(data_dir: Path, lines: int) -> None:
    """Wait until the whiteboard has written that many records."""
    journal = data_dir / "journal" / "missions.jsonl"
    await eventually(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= lines)


async def test_a_chat_event_becomes_a_journalled_mission(broker_container: BrokerContainer, tmp_path: Path) -> None:
    async with services(broker_container.nats_url, tmp_path) as broker:
        await broker.chat.write("chat.events.ops", b'{"id": "1", "text": "/run echo text=hi"}', expected=None)
        await journalled(tmp_path, 3)
        assert b'"status":"completed"' in (tmp_path / "journal" / "missions.jsonl").read_bytes()


async def test_a_mission_outlives_a_crash_of_the_broker(broker_container: BrokerContainer, tmp_path: Path) -> None:
    async with services(broker_container.nats_url, tmp_path) as broker:
        await broker.chat.write("chat.events.ops", b'{"id": "1", "text": "/run sleep seconds=1.5"}', expected=None)
        await journalled(tmp_path, 2)
        broker_container.kill()
        broker_container.start()
        outcome = await broker.outcome(ids.mission_id("ops", "1"), within_s=25)
        assert outcome.status == "completed"
