"""A mission that waits for a person survives the kill of everything, at each step, and goes on when it is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from contracts import codec
from contracts.errors import MissionsError
from contracts.lifecycle import Status
from contracts.messages import ChatEvent
from missions.testing.history import histories
from services.runtime.bus import ApiError
from tests.support.chatter import mission_id
from tests.support.drill import WITHIN_S, Drill, drill
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(180)

MISSIONS = 60
EVERYTHING = ["nats", "orchestrator", "executor", "whiteboard"]


def asking(trace: Path) -> list[ChatEvent]:
    return [ChatEvent(id=f"evt-{n}", text=f"/run approve file={trace} line=line-{n}") for n in range(MISSIONS)]


async def all_wait(drilled: Drill, events: list[ChatEvent]) -> None:
    """Wait until every mission waits, and nothing is held for any of them."""

    async def waits(event: ChatEvent) -> bool:
        with suppress(ApiError, MissionsError):  # the broker may be down
            records = [codec.decode_status(stored.data) for stored in await drilled.records(mission_id(event))]
            return bool(records) and records[-1].status is Status.WAITING
        return False

    for event in events:
        await eventually(partial(waits, event), WITHIN_S)
    await eventually(drilled.is_idle, WITHIN_S)


async def answer(drilled: Drill, event: ChatEvent) -> None:
    """Say the answer again and again until it is acknowledged, each time as the same chat event."""

    async def said() -> bool:
        with suppress(MissionsError):
            await drilled.client.say(f"/answer {mission_id(event)} yes", id=f"answer-{event.id}")
            return True
        return False

    await eventually(said, WITHIN_S)


async def answer_all(drilled: Drill, events: list[ChatEvent]) -> None:
    await asyncio.gather(*(answer(drilled, event) for event in events))


async def test_waiting_survives_the_kill_of_everything(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    events = asking(trace)
    async with drill(tmp_path / "data") as drilled:
        await drilled.say(events)
        await all_wait(drilled, events)
        for name in EVERYTHING:
            await asyncio.to_thread(drilled.stack.kill, name)
        await asyncio.to_thread(drilled.stack.wait_ready, within_s=WITHIN_S)
        await answer_all(drilled, events)
        found = histories(await drilled.verify())
    assert Counter(trace.read_text().split()) == {f"line-{n}": 1 for n in range(MISSIONS)}
    for history in found.values():
        outcome = history.outcomes[0]
        assert (outcome.status, outcome.attempt, len(history.proposals)) == (Status.COMPLETED, 2, 2)


@pytest.mark.parametrize("victim", EVERYTHING)
async def test_kill_9_while_goals_ask_and_while_they_are_answered(tmp_path: Path, victim: str) -> None:
    trace = tmp_path / "trace"
    events = asking(trace)
    async with drill(tmp_path / "data") as drilled:
        saying = asyncio.ensure_future(drilled.say(events))
        await drilled.until_stored(MISSIONS)
        await asyncio.to_thread(drilled.stack.kill, victim)
        await saying
        await all_wait(drilled, events)
        asked = await drilled.stored()
        answering = asyncio.ensure_future(answer_all(drilled, events))
        await drilled.until_stored(asked + MISSIONS)
        await asyncio.to_thread(drilled.stack.kill, victim)
        await answering
        found = histories(await drilled.verify())
    assert set(trace.read_text().split()) == {f"line-{n}" for n in range(MISSIONS)}
    for history in found.values():
        assert history.outcomes[0].status is Status.COMPLETED
        answers = [record for record in history.statuses if record.phase == "answered"]
        assert len(answers) == 1, history
