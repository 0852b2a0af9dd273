"""Many missions at once, and one chat event many times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from contracts import codec, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import ChatEvent
from missions.testing.history import histories
from tests.support.chatter import mission_id
from tests.support.drill import drill

pytestmark = pytest.mark.timeout(120)

TIMES = 20


async def test_a_thousand_missions_all_end(tmp_path: Path) -> None:
    events = [ChatEvent(id=f"evt-{n}", conversation=f"room-{n % 50}", text="/run echo text=hi") for n in range(1_000)]
    async with drill(tmp_path) as drilled:
        assert await drilled.client.say_many(events) == [mission_id(event) for event in events]
        drilled.acknowledged += events
        records = await drilled.verify()
        assert len(records) == 3 * len(events)
        assert {history.outcomes[0].status for history in histories(records).values()} == {Status.COMPLETED}


async def test_one_chat_event_delivered_twenty_times_at_once_by_every_way_is_one_mission(tmp_path: Path) -> None:
    event = ChatEvent(id="evt-1", conversation="ops", text="/run echo text=hi")
    other = msgspec.structs.replace(event, queue="elsewhere", text="/run echo text=other")
    async with drill(tmp_path) as drilled:
        bus, stack = await drilled.bus(), drilled.stack
        subject = subjects.chat_events(event.conversation)

        async def publish(said: ChatEvent) -> None:
            """Publish past the broker's own dedupe: without Nats-Msg-Id."""
            await bus.publish_acked(subject, codec.encode(said))

        await asyncio.gather(
            *(publish(event) for _ in range(TIMES)),
            *(drilled.post(stack.orchestrator_url, event) for _ in range(TIMES)),
            *(drilled.post(stack.whiteboard_url, event) for _ in range(TIMES)),
            *(drilled.client.say(event.text, id=event.id, conversation=event.conversation) for _ in range(TIMES)),
        )
        drilled.acknowledged.append(event)
        records = await drilled.verify()
        assert len(records) == 3
        assert await drilled.stored(topology.CHAT) >= TIMES

        await asyncio.gather(*(publish(said) for said in (event, other) * TIMES))
        assert await drilled.verify() == records
