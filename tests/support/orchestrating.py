"""An orchestrator in the test's own loop, and what it left on the broker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from contracts import codec, ids, subjects
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, KindSpec, Mission, Reply, StatusRecord, status_record
from contracts.topology import CHAT, DEADLETTERS, MISSIONS
from services.orchestrator.service import serve
from services.runtime import streams
from services.runtime.bus import Bus
from services.runtime.incoming import Stored
from services.runtime.process import Stop
from services.runtime.settings import Settings
from tests.support.eventually import eventually


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """The test's own view of the broker."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus = bus
        self.settings = settings

    async def say(self, body: bytes | ChatEvent, subject: str = subjects.CHAT_EVENTS, **headers: str) -> None:
        """Publish a chat event as outsiders do: without any of our own code."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.bus.publish_acked(subject, data, named)

    async def announce(self, spec: KindSpec) -> None:
        await self.bus.publish_acked(subjects.kind(spec.queue, spec.kind), codec.encode(spec))

    async def proposals(self) -> list[Mission]:
        stored = await self.bus.last_per_subject(MISSIONS, subjects.PROPOSED_ALL)
        return [codec.decode_mission(message.data) for message in stored]

    async def proposal(self, conversation: str, event_id: str) -> Mission:
        """Wait for the mission of a chat event."""
        subject = subjects.proposed("*", ids.mission_id(conversation, event_id))
        return codec.decode_mission((await self.wait_for(MISSIONS, subject)).data)

    async def only_proposal(self) -> Mission:
        """Wait for the first mission there is."""
        return (await eventually(self.proposals))[0]

    async def write_status(self, mission: Mission, status: Status, *, expected: int = 0, **fields: Any) -> int:
        """Write a record as an executor would."""
        record = status_record(
            event_id=f"{mission.mission_id}.1.{expected}",
            mission_id=mission.mission_id,
            status=status,
            actor="test",
            attempt=1,
            **fields,
        )
        subject = subjects.status(mission.queue, mission.mission_id)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        return (await self.bus.publish_acked(subject, codec.encode(record), headers)).seq

    async def statuses(self, mission: Mission) -> list[StatusRecord]:
        stored = await self.bus.records(MISSIONS, subjects.status("*", mission.mission_id))
        return [codec.decode_status(message.data) for message in stored]

    async def outcome(self, mission: Mission, within_s: float = 10) -> StatusRecord:
        """Wait for the last record of a mission to be there."""
        stored = await self.wait_for(MISSIONS, subjects.status("*", mission.mission_id), within_s)
        return codec.decode_status(stored.data)

    async def reply(self, mission: Mission, kind: str) -> Reply:
        subject = subjects.reply(mission.conversation, mission.mission_id, kind)
        return codec.decode_reply((await self.wait_for(CHAT, subject)).data)

    async def dead_letter(self, within_s: float = 10) -> Stored:
        return await self.wait_for(DEADLETTERS, subjects.deadletters("orchestrator"), within_s)

    async def consumed(self, stream: str = CHAT) -> bool:
        """Tell whether the orchestrator has acknowledged all there is."""
        info = await self.bus.api(f"CONSUMER.INFO.{stream}.orchestrator")
        return bool(info["num_pending"] == 0 and info["num_ack_pending"] == 0)

    async def count(self, stream: str) -> int:
        """Return how many messages a stream holds."""
        return (await self.bus.stream_state(stream)).messages

    async def wait_for(self, stream: str, subject: str, within_s: float = 10) -> Stored:
        """Wait until a message stands on a subject, and return the last one."""

        async def head() -> Stored | None:
            return await self.bus.head(stream, subject)

        found = await eventually(head, within_s)
        assert found is not None
        return found


@asynccontextmanager
async def broker(nats_url: str, **fields: Any) -> AsyncIterator[Broker]:
    """Connect, with all streams there."""
    settings = Settings(nats_url=nats_url, **fields)
    bus = await Bus.connect(settings, service="test")
    await streams.apply(bus, settings.queues, settings.lease_s, manage=True)
    yield Broker(bus, settings)
    await bus.close()


@asynccontextmanager
async def orchestrator(settings: Settings) -> AsyncIterator[str]:
    """Run an orchestrator, whose URL this is, and stop it in an orderly way."""
    stop = Stop()
    port = free_port()
    service = asyncio.create_task(serve(settings.model_copy(update={"http_port": port}), stop))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await service
