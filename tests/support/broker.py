"""A connected bus on a broker with the whole topology, and missions to put on it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import TERMINAL
from contracts.messages import Goal, Mission, StatusRecord, now
from services.runtime import streams
from services.runtime.bus import Bus, Unanswered
from services.runtime.settings import Settings
from services.runtime.writer import Writer
from tests.support.eventually import eventually


def settings_for(nats_url: str, **options: Any) -> Settings:
    """Return settings that look at nothing but this broker."""
    defaults: dict[str, Any] = {"nats_url": nats_url, "lease_s": 2.0, "stop_grace_s": 0.2, "http_port": 0}
    return Settings(**(defaults | options))


@asynccontextmanager
async def connected(nats_url: str, **options: Any) -> AsyncIterator[Broker]:
    """Connect, and make the topology."""
    settings = settings_for(nats_url, **options)
    bus = await Bus.connect(settings, "test")
    try:
        await streams.apply(bus, settings.queues, settings.lease_s, manage=True)
        yield Broker(bus, settings)
    finally:
        await bus.close()


class Broker:
    """What tests ask of the broker."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus = bus
        self.settings = settings
        self.missions = Writer(bus, topology.MISSIONS)
        self.chat = Writer(bus, topology.CHAT)

    async def propose(self, *goals: Goal, queue: str = "default", mission_id: str = "", **fields: Any) -> str:
        """Put a mission on the broker as the orchestrator does, and return its id."""
        mission_id = mission_id or ids.mission_id("test", os.urandom(8).hex())
        mission = Mission(
            mission_id=mission_id,
            goals=goals,
            queue=queue,
            event_id=ids.record_id(mission_id, 0, 1),
            at=now(),
            **fields,
        )
        await self.missions.write(subjects.proposed(queue, mission_id), codec.encode(mission), expected=0)
        return mission_id

    async def records(self, mission_id: str, queue: str = "default") -> list[StatusRecord]:
        """Return the status records of a mission."""
        stored = await self.bus.records(topology.MISSIONS, subjects.status(queue, mission_id))
        return [codec.decode_status(item.data) for item in stored]

    async def outcome(self, mission_id: str, within_s: float = 15) -> StatusRecord:
        """Wait for the terminal record of a mission and return it."""

        async def ended() -> StatusRecord | None:
            try:
                head = await self.bus.head(topology.MISSIONS, subjects.status("*", mission_id))
            except Unanswered:
                return None  # the broker is away
            record = codec.decode_status(head.data) if head else None
            return record if record and record.status in TERMINAL else None

        return await eventually(ended, within_s)

    async def unacknowledged(self, durable: str, stream: str = topology.MISSIONS) -> int:
        """Return how many messages a consumer has not done with."""
        info = await self.bus.api(f"CONSUMER.INFO.{stream}.{durable}")
        return int(info["num_pending"]) + int(info["num_ack_pending"])
