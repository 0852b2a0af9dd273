"""Chat events of every shape against a real broker."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count

import httpx2
import msgspec
import pytest

from contracts import codec, subjects
from contracts import headers as names
from contracts.errors import MaybeStored
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, Failure, GoalRequest, KindSpec
from contracts.topology import CHAT, DEADLETTERS, MISSIONS, SCHEDULES
from missions.nats_server import NatsServer
from services.orchestrator import planner
from services.runtime.bus import Bus
from services.runtime.chat_door import ChatDoor
from services.runtime.writer import Writer
from tests.support.eventually import eventually
from tests.support.orchestrating import Broker, broker, orchestrator
from tests.support.raw_nats import ODD_TOKENS, publish_bytes

GREET = KindSpec(kind="greet", phrases=("say hello to {name}",))


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Broker]:
    async with broker(nats_url) as connected:
        yield connected


@pytest.fixture
async def running(nats: Broker) -> AsyncIterator[Broker]:
    async with orchestrator(nats.settings):
        yield nats


async def test_a_command_in_plain_text_is_proposed_and_accepted(running: Broker) -> None:
    await running.say(b"/run echo text=hi", "chat.events.ops")
    mission = await running.only_proposal()
    assert (mission.goals[0].kind, mission.goals[0].params) == ("echo", {"text": "hi"})
    assert (mission.conversation, mission.queue) == ("ops", "default")
    stored = await running.bus.message(CHAT, 1)
    assert stored is not None
    assert mission.causation_id == f"seq-1-{stored.time_ns}"
    reply = await running.reply(mission, "accepted")
    assert reply.in_reply_to == mission.causation_id


async def test_whatever_bytes_stand_in_a_subject_the_orchestrator_goes_on(
    nats_server: NatsServer, running: Broker
) -> None:
    for token in ODD_TOKENS:
        await publish_bytes(nats_server, b"chat.events." + token, b"/run echo text=hi")
    await running.say(b"/run echo text=hi", "chat.events.ops")
    assert (await running.only_proposal()).conversation == "ops"
    assert (await running.bus.stream_state(DEADLETTERS)).messages == len(ODD_TOKENS)


async def test_explicit_goals_are_proposed(running: Broker) -> None:
    goals = (GoalRequest(kind="a"), GoalRequest(kind="b", needs=("g1",)))
    await running.say(ChatEvent(id="e", conversation="ops", goals=goals, queue="gpu", sender="ann"))
    mission = await running.proposal("ops", "e")
    assert [goal.id for goal in mission.goals] == ["g1", "g2"]
    assert (mission.queue, mission.requested_by) == ("gpu", "ann")


async def test_a_phrase_announced_before_and_one_announced_while_running_are_understood(nats: Broker) -> None:
    await nats.announce(GREET)
    async with orchestrator(nats.settings):
        await nats.say(ChatEvent(id="1", conversation="ops", text="Say hello to Ann!"))
        assert (await nats.proposal("ops", "1")).goals[0].params == {"name": "Ann"}
        await nats.announce(KindSpec(kind="train", queue="gpu", phrases=("train {model}",)))

        async def understood() -> bool:
            event_id = f"2-{await nats.count(CHAT)}"
            await nats.say(ChatEvent(id=event_id, conversation="ops", text="train big"))
            return (await nats.proposal("ops", event_id)).queue == "gpu"

        await eventually(understood)


async def test_a_text_nobody_understands_is_a_rejected_mission_of_two_records(running: Broker) -> None:
    await running.announce(GREET)
    await running.say(b"hello")
    mission = await running.only_proposal()
    outcome = await running.outcome(mission)
    assert mission.goals == ()
    assert (outcome.status, outcome.reason, outcome.core) == (Status.REJECTED, "not_understood", "failed")
    reply = await running.reply(mission, "error")
    assert "do not understand" in reply.text
    assert await running.count(MISSIONS) == 2
    assert await running.bus.head(CHAT, subjects.reply(mission.conversation, mission.mission_id, "accepted")) is None


async def test_a_cycle_is_rejected_before_anything_runs(running: Broker) -> None:
    goals = (GoalRequest(kind="a", needs=("g2",)), GoalRequest(kind="b", needs=("g1",)))
    await running.say(ChatEvent(id="e", goals=goals))
    outcome = await running.outcome(await running.proposal("default", "e"))
    assert outcome.reason == "cycle"


async def test_cloudevents_in_both_forms_are_understood(running: Broker) -> None:
    await running.say(b"/run echo", "chat.events.ops", ce_id="1", ce_source="/shop", ce_specversion="1.0")
    structured = {"specversion": "1.0", "id": "2", "source": "/shop", "type": "t", "data": {"text": "/run echo n=2"}}
    await running.say(
        msgspec.json.encode(structured), "chat.events.ops", **{"Content-Type": "application/cloudevents+json"}
    )
    assert (await running.proposal("ops", "/shop/1")).goals[0].params == {}
    assert (await running.proposal("ops", "/shop/2")).goals[0].params == {"n": 2}


async def test_what_cannot_be_understood_goes_whole_to_the_dead_letters_and_nothing_stops(running: Broker) -> None:
    bodies = [
        (b'{"text": ', "chat.events"),
        (b"\xff\xfe", "chat.events"),
        (b"{}", "chat.events.ops"),
        (b'{"text": 3}', "chat.events.ops"),
        (b'{"goals": [{"kind": "a", "params": {"n": NaN}}]}', "chat.events"),
        (b"[" * 100, "chat.events"),
        (b'{"text": "a", "x":' + b"[" * 50 + b"]" * 50 + b"}", "chat.events"),
        (b"x" * 300_000, "chat.events"),
        (b"hello", "chat.events." + "x" * 65),
        (b'{"text": "a", "conversation": "a.>"}', "chat.events"),
    ]
    for body, subject in bodies:
        await running.say(body, subject)

    async def all_there() -> bool:
        return await running.count(DEADLETTERS) == len(bodies)

    await eventually(all_there)
    kept = await running.bus.records(DEADLETTERS, subjects.deadletters("orchestrator"))
    assert {(letter.data, letter.headers[names.DEADLETTER_SUBJECT]) for letter in kept} == set(bodies)
    assert all(letter.headers[names.DEADLETTER_REASON] for letter in kept)
    await running.say(ChatEvent(id="after", text="/run echo"))
    await running.proposal("default", "after")


async def test_the_same_event_20_times_at_two_orchestrators_is_one_mission_and_one_reply(nats: Broker) -> None:
    async with orchestrator(nats.settings), orchestrator(nats.settings):
        event = ChatEvent(id="same", conversation="ops", text="/run echo text=hi")
        await asyncio.gather(*(nats.say(event) for _ in range(20)))
        mission = await nats.proposal("ops", "same")
        await nats.reply(mission, "accepted")
        await eventually(nats.consumed)
    assert await nats.count(MISSIONS) == 1
    assert await nats.count(CHAT) == 21


async def test_one_event_id_for_many_queues_is_one_mission(nats: Broker) -> None:
    events = [ChatEvent(id="same", text="/run echo", queue=f"q{number}") for number in range(20)]
    async with orchestrator(nats.settings), orchestrator(nats.settings):
        await asyncio.gather(*(nats.say(event) for event in events))
        await eventually(nats.consumed)
    assert await nats.count(MISSIONS) == 1


async def test_a_repeat_that_is_not_understood_does_not_reject_the_mission_that_stands(running: Broker) -> None:
    await running.say(ChatEvent(id="same", text="/run echo"))
    mission = await running.proposal("default", "same")
    await running.say(ChatEvent(id="same", text="gibberish"))
    await eventually(running.consumed)
    assert await running.statuses(mission) == []


async def test_a_refusal_that_was_cut_short_is_finished_even_when_the_text_is_understood_by_now(nats: Broker) -> None:
    event = ChatEvent(id="e", conversation="ops", text="say hello to Ann")
    half = planner.refused_mission(event, now=datetime.now(UTC))
    await nats.bus.publish_acked(subjects.proposed(half.queue, half.mission_id), codec.encode(half))
    await nats.announce(GREET)
    await nats.say(event)
    async with orchestrator(nats.settings):
        assert (await nats.outcome(half)).status is Status.REJECTED
        assert (await nats.reply(half, "error")).in_reply_to == "e"
    assert await nats.count(MISSIONS) == 2


async def test_an_outcome_is_replied_once_also_by_an_orchestrator_that_did_not_propose_it(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        await nats.say(ChatEvent(id="1", conversation="ops", text="/run echo"))
        await nats.say(ChatEvent(id="2", conversation="ops", text="/run fail"))
        good, bad = await nats.proposal("ops", "1"), await nats.proposal("ops", "2")
        active = await nats.write_status(good, Status.ACTIVE)
        await nats.write_status(good, Status.COMPLETED, expected=active, result={"n": 1})
        reply = await nats.reply(good, "result")
        assert (reply.text, reply.in_reply_to) == ('Done: {"n":1}', "1")
    await nats.write_status(bad, Status.FAILED, reason="handler_error", error=Failure(type="ValueError", message="no"))
    async with orchestrator(nats.settings):
        assert (await nats.reply(bad, "error")).text == "Failed (handler_error): ValueError: no"


async def test_an_outcome_that_is_delivered_again_is_not_replied_again(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        await nats.say(ChatEvent(id="1", conversation="ops", text="/run echo"))
        mission = await nats.proposal("ops", "1")
        active = await nats.write_status(mission, Status.ACTIVE)
        await nats.write_status(mission, Status.COMPLETED, expected=active, result="x")
        await nats.reply(mission, "result")
        await eventually(lambda: nats.consumed(MISSIONS))
    said = await nats.count(CHAT)
    for stream in (MISSIONS, CHAT):
        await nats.bus.reset_consumer(stream, "orchestrator", 1)
    async with orchestrator(nats.settings):
        await eventually(lambda: nats.consumed(MISSIONS))
        await eventually(nats.consumed)
    assert await nats.count(CHAT) == said
    assert await nats.count(MISSIONS) == 3


async def test_a_record_nested_too_deep_is_dead_lettered_and_stops_nothing(running: Broker) -> None:
    body = b'{"mission_id":"m","status":"completed","result":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    await running.bus.publish_acked(subjects.status("default", "m"), body)
    assert (await running.dead_letter()).data == body
    await running.say(ChatEvent(id="1", conversation="ops", text="/run echo"))
    await running.proposal("ops", "1")


async def test_a_duplicate_that_is_another_event_is_not_called_accepted(nats: Broker) -> None:
    door = ChatDoor(nats.bus, Writer(nats.bus, CHAT))
    await nats.say(b"hello", "chat.events.ops", Nats_Msg_Id="ops/evt-1")
    with pytest.raises(MaybeStored, match="another id"):
        await door.publish(ChatEvent(id="evt-1", conversation="ops", text="mine"))
    first = await door.publish(ChatEvent(id="x", conversation="ops", text="a"))
    assert await door.publish(ChatEvent(id="x", conversation="ops", text="a")) == first
    await door.publish(ChatEvent(id="x ", conversation="ops", text="b"))
    assert await nats.count(CHAT) == 3


async def test_a_scheduled_event_is_a_new_mission_at_each_firing(running: Broker) -> None:
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    body = msgspec.json.encode(ChatEvent(id="always the same", text="/run echo"))
    schedule = {names.SCHEDULE: f"@at {at}", names.SCHEDULE_TARGET: "chat.due.ops", names.TTL: "never"}
    found = set()
    for _ in range(2):
        await running.bus.publish_acked("chat.schedules.tick", body, schedule)
        fired = await running.wait_for(SCHEDULES, "chat.due.ops")
        found.add((await running.proposal("ops", f"tick-{fired.seq}-{fired.time_ns}")).mission_id)
        await running.bus.api("STREAM.PURGE.SCHEDULES", {"filter": "chat.due.ops"})
    assert len(found) == 2


async def test_nothing_is_proposed_while_missions_is_nearly_full(nats: Broker) -> None:
    async with orchestrator(nats.settings) as url, httpx2.AsyncClient(base_url=url) as http:
        await nats.say(ChatEvent(id="before", text="/run echo text=" + "x" * 10_000))
        await nats.proposal("default", "before")
        await resize(nats.bus, int((await nats.bus.stream_state(MISSIONS)).bytes * 1.1))
        numbers = count()

        async def red() -> bool:
            await nats.say(ChatEvent(id=str(next(numbers)), text="/run echo"))
            return "full" in (await http.get("/readyz")).text

        await eventually(red)
        assert len(await nats.proposals()) < await nats.count(CHAT)
        await resize(nats.bus, 1_000_000_000)
        await eventually(nats.consumed, within_s=20)
        assert (await http.get("/readyz")).json() == {"ready": True, "reasons": {}, "pid": os.getpid()}
        assert len(await nats.proposals()) == next(numbers) + 1


async def test_the_http_door_answers_when_the_event_is_stored(nats: Broker) -> None:
    async with orchestrator(nats.settings) as url, httpx2.AsyncClient(base_url=url) as http:
        await eventually(lambda: is_ready(http))
        answer = await http.post("/chat/integrated", json={"message": "/run echo text=hi", "conversation": "ops"})
        assert answer.status_code == 202
        mission = await nats.only_proposal()
        assert answer.json()["mission_id"] == mission.mission_id
        assert (await nats.reply(mission, "accepted")).kind == "accepted"
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            refused = await http.post("/chat/integrated", content='{"message": "/run echo"}', headers=headers)
            assert refused.status_code == 403
        assert await nats.count(MISSIONS) == 1


async def test_a_broker_that_is_frozen_is_told_soon_and_a_repeat_is_the_same_mission(
    nats: Broker, nats_server: NatsServer
) -> None:
    async with orchestrator(nats.settings) as url, httpx2.AsyncClient(base_url=url, timeout=15) as http:
        await eventually(lambda: is_ready(http))
        said = {"message": "/run echo text=hi", "conversation": "ops"}
        os.kill(nats_server.pid, signal.SIGSTOP)
        try:
            answer = await http.post("/chat/integrated", json=said)
        finally:
            os.kill(nats_server.pid, signal.SIGCONT)
        assert answer.status_code == 503
        found = re.search(r"it may be stored, .*; repeat it with the id (\S+)$", answer.json()["detail"])
        assert found is not None
        await eventually(lambda: is_ready(http))
        again = await http.post("/chat/integrated", json=said | {"id": found[1]})
        assert again.status_code == 202
        assert (await nats.only_proposal()).mission_id == again.json()["mission_id"]
        await eventually(nats.consumed)
        assert await nats.count(MISSIONS) == 1


async def is_ready(http: httpx2.AsyncClient) -> bool:
    """Tell whether an orchestrator is ready."""
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False


async def resize(bus: Bus, max_bytes: int) -> None:
    """Set the size of MISSIONS."""
    config = (await bus.api(f"STREAM.INFO.{MISSIONS}"))["config"]
    await bus.api(f"STREAM.UPDATE.{MISSIONS}", {**config, "max_bytes": max_bytes})


async def test_a_reference_in_a_line_is_kept_and_needed(running: Broker) -> None:
    await running.say(b"/run a\n/run b\n/run report total=${g1.total}", "chat.events.ops")
    mission = await running.only_proposal()
    assert (mission.goals[2].needs, mission.goals[2].params) == (("g2", "g1"), {"total": "${g1.total}"})


async def test_a_reference_to_nothing_is_refused_before_anything_runs(running: Broker) -> None:
    await running.say(b"/run report total=${HOME}", "chat.events.ops")
    mission = await running.only_proposal()
    outcome = await running.outcome(mission)
    assert (mission.queue, outcome.status, outcome.reason) == ("refused", Status.REJECTED, "bad_reference")
    assert 'for a literal "${" write "$${"' in (await running.reply(mission, "error")).text


async def test_a_mission_for_a_queue_that_nobody_serves_is_accepted_and_told_so(nats: Broker) -> None:
    await nats.announce(GREET)
    async with orchestrator(nats.settings):
        for name, queue in (("served", "default"), ("not", "gpu")):
            await nats.say(ChatEvent(id=name, conversation="ops", text="/run greet name=x", queue=queue))
        served, waiting = [await nats.proposal("ops", name) for name in ("served", "not")]
        assert "No executor" not in (await nats.reply(served, "accepted")).text
        assert "No executor of the queue gpu is known" in (await nats.reply(waiting, "accepted")).text
        assert await nats.statuses(waiting) == []
