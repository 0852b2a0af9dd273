"""Commands and deadlines against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import codec, ids, subjects
from contracts import headers as names
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import ChatEvent, Command, Failure, Mission
from contracts.topology import CHAT, MISSIONS, SCHEDULES
from services.runtime.incoming import Incoming
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.orchestrating import Broker, broker, orchestrator


@pytest.fixture
async def running(nats_url: str) -> AsyncIterator[Broker]:
    async with broker(nats_url) as connected, orchestrator(connected.settings):
        yield connected


async def proposed(nats: Broker, **fields: object) -> Mission:
    await nats.say(ChatEvent(id="e", conversation="ops", text="/run echo", **fields))  # type: ignore[arg-type]  # by name
    return await nats.proposal("ops", "e")


def command(kind: str, mission: Mission | str, **fields: str) -> ChatEvent:
    mission_id = mission if isinstance(mission, str) else mission.mission_id
    return ChatEvent(conversation="ops", command=Command(kind=kind, mission_id=mission_id, **fields))  # type: ignore[arg-type]  # a wrong kind is a case


async def test_a_mission_nobody_has_started_is_cancelled_by_the_orchestrator(running: Broker) -> None:
    mission = await proposed(running, queue="gpu")
    await running.say(command("cancel", mission, reason="not needed"))
    outcome = await running.outcome(mission)
    assert (outcome.status, outcome.reason, outcome.attempt) == (Status.CANCELLED, "user", 0)
    assert "not needed" in (await running.reply(mission, "error")).text


async def test_a_started_mission_is_asked_to_stop_and_its_owner_is_woken(running: Broker) -> None:
    mission = await proposed(running)
    woken: list[bytes] = []

    async def on_signal(incoming: Incoming) -> None:
        woken.append(incoming.data)

    await running.bus.subscribe(subjects.signals("default"), on_signal)
    await running.write_status(mission, Status.ACTIVE)
    await running.say(command("cancel", mission))
    await eventually(lambda: woken)
    assert woken == [mission.mission_id.encode()]
    asked = await running.outcome(mission)
    assert (asked.status, asked.phase, asked.reason, asked.attempt) == (Status.ACTIVE, "cancelling", "user", 1)


async def test_cancelling_twice_writes_once_and_wakes_again(running: Broker) -> None:
    mission = await proposed(running)
    await running.write_status(mission, Status.ACTIVE)
    await asyncio.gather(*(running.say(command("cancel", mission)) for _ in range(5)))
    await eventually(running.consumed)
    assert [record.phase for record in await running.statuses(mission)] == ["", "cancelling"]


async def errors_about(nats: Broker, event_id: str) -> list[str]:
    """Return the texts of the `error` replies to a chat event."""
    stored = await nats.bus.last_per_subject(CHAT, subjects.CHAT_REPLIES_ALL)
    replies = [codec.decode_reply(one.data) for one in stored]
    return [reply.text for reply in replies if (reply.kind, reply.in_reply_to) == ("error", event_id)]


@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        ("/answer {id} yes", None, "waits for no answer: it is proposed"),
        ("/answer {id} yes", Status.ACTIVE, "waits for no answer: it is active"),
        ("/answer {id}/g1 yes", Status.COMPLETED, "waits for no answer: it is completed"),
        ("/cancel {id}", Status.COMPLETED, "has ended already: it is completed"),
    ],
)
async def test_what_a_person_wants_of_a_mission_in_vain_is_told(
    running: Broker, said: str, status: Status | None, word: str
) -> None:
    mission = await proposed(running)
    if status is not None:
        await running.write_status(mission, status, reason="ok")
    await running.say(ChatEvent(id="vain", conversation="ops", text=said.format(id=mission.mission_id)))
    (text,) = await eventually(lambda: errors_about(running, "vain"))
    assert word in text


async def test_a_cancel_in_the_chat_that_is_delivered_again_is_not_in_vain(running: Broker) -> None:
    mission = await proposed(running, queue="gpu")
    for number in range(3):  # the same event, past the broker's own window
        event = ChatEvent(id="cancel", conversation="ops", text=f"/cancel {mission.mission_id}")
        await running.say(event, Nats_Msg_Id=f"{number}")
    await eventually(running.consumed)
    assert (await running.outcome(mission)).status is Status.CANCELLED
    assert await errors_about(running, "cancel") == []


async def test_a_mission_that_has_ended_stays_as_it_is(running: Broker) -> None:
    mission = await proposed(running)
    await running.write_status(mission, Status.COMPLETED)
    await running.say(command("cancel", mission))
    await eventually(running.consumed)
    assert [record.status for record in await running.statuses(mission)] == [Status.COMPLETED]


async def test_a_command_that_comes_before_its_mission_waits_for_it(nats_url: str) -> None:
    async with broker(nats_url) as nats:
        event = ChatEvent(id="e", conversation="ops", text="/run echo")
        mission_id = ids.mission_id("ops", "e")
        await nats.say(command("cancel", mission_id))
        async with orchestrator(nats.settings):
            await nats.say(event)
            mission = await nats.proposal("ops", "e")
            assert (await nats.outcome(mission)).status is Status.CANCELLED


async def test_a_command_about_no_mission_is_dead_lettered_in_the_end(running: Broker) -> None:
    await running.say(command("cancel", "a" * 26))
    letter = await running.dead_letter(within_s=20)
    assert "no mission" in letter.headers[names.DEADLETTER_REASON]


async def test_nobody_may_let_a_mission_expire_from_outside(running: Broker) -> None:
    mission = await proposed(running)
    await running.say(command("expire", mission))
    letter = await running.dead_letter()
    assert "schedule" in letter.headers[names.DEADLETTER_REASON]
    assert await running.statuses(mission) == []


async def test_a_mission_whose_queue_nobody_serves_ends_at_its_deadline(running: Broker) -> None:
    mission = await proposed(running, queue="nobody", deadline_s=0.2)
    assert mission.deadline is not None
    outcome = await running.outcome(mission)
    assert (outcome.status, outcome.reason) == (Status.FAILED, "deadline_exceeded")
    assert outcome.at >= mission.deadline
    assert "deadline_exceeded" in (await running.reply(mission, "error")).text


async def test_an_owner_that_is_late_is_asked_to_stop_at_the_deadline(running: Broker) -> None:
    mission = await proposed(running, deadline_s=0.2)
    await running.write_status(mission, Status.ACTIVE)

    async def cancelling() -> bool:
        return (await running.statuses(mission))[-1].phase == "cancelling"

    await eventually(cancelling)
    assert (await running.statuses(mission))[-1].reason == "deadline_exceeded"


async def test_a_repeat_does_not_move_the_deadline(running: Broker) -> None:
    mission = await proposed(running, deadline_s=3600)
    schedule = subjects.chat_schedule(f"expire-{mission.mission_id}")
    first = await running.wait_for(SCHEDULES, schedule)
    await running.say(ChatEvent(id="e", conversation="ops", text="/run echo", deadline_s=7200))
    await eventually(running.consumed)
    assert await running.wait_for(SCHEDULES, schedule) == first
    assert await running.count(MISSIONS) == 1


async def test_what_is_said_with_a_cancel_stands_in_the_outcome_of_a_mission_that_ran(nats_url: str) -> None:
    async with broker(nats_url) as nats, orchestrator(nats.settings), executing(nats.settings):
        await nats.say(ChatEvent(id="e", conversation="ops", text="/run sleep seconds=600"))
        mission = await nats.proposal("ops", "e")
        await eventually(lambda: nats.statuses(mission))
        await nats.say(f"/cancel {mission.mission_id} wrong numbers".encode(), subject="chat.events.ops")
        await eventually(lambda: _is_over(nats, mission))
        outcome = (await nats.statuses(mission))[-1]
        assert (outcome.status, outcome.reason, outcome.phase) == (Status.CANCELLED, "user", "stopped")
        assert outcome.error == Failure(type="Cancelled", message="wrong numbers")
        assert "wrong numbers" in (await nats.reply(mission, "error")).text


async def _is_over(nats: Broker, mission: Mission) -> bool:
    return (await nats.statuses(mission))[-1].status in TERMINAL
