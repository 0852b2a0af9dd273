"""The sweep against a real broker: each way to lose a mission, and each way to wait that is none."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest

from contracts import codec, ids, subjects
from contracts.errors import ContractError
from contracts.lifecycle import Status
from contracts.messages import Answer, ChatEvent, Command, GoalRequest, GoalStatus, Mission, Question, StatusRecord
from contracts.topology import DEADLETTERS, MISSIONS, SCHEDULES, executor_durable
from missions import Context, goal
from missions.testing.history import assert_legal_history, assert_one_outcome
from services.orchestrator import planner, walk
from services.orchestrator.kinds import Kinds
from services.runtime.puller import Puller
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.orchestrating import Broker, broker, orchestrator

FAST = {"lease_s": 0.5, "sweep_every_s": 0.2, "goal_timeout_s": 1.0, "stop_grace_s": 0.2}
EXECUTORS = executor_durable("default")
LOST_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Broker]:
    async with broker(nats_url, **FAST) as connected:
        yield connected


async def proposed(nats: Broker, **fields: object) -> Mission:
    """Say `/run echo`, unless something else is said, and wait for the mission."""
    said = {"text": "/run echo text=hi"} if "goals" not in fields else {}
    await nats.say(ChatEvent(id="e", conversation="ops", **(said | fields)))  # type: ignore[arg-type]  # by name
    return await nats.proposal("ops", "e")


async def take_item(nats: Broker, answer: bytes | None) -> None:
    """Take the next work item as an executor does, and answer for it or not."""
    puller = Puller(nats.bus, MISSIONS, EXECUTORS)
    (incoming,) = await eventually(lambda: puller.fetch(1))
    if answer is not None:
        nats.bus.answer(incoming, answer)
    await puller.close()


async def outcome(nats: Broker, mission: Mission, within_s: float = 20) -> StatusRecord:
    """Wait for the outcome, and check that it is the only one, with nothing after it."""

    async def ended() -> StatusRecord | None:
        head = await nats.bus.head(MISSIONS, subjects.status("*", mission.mission_id))
        try:
            record = codec.decode_status(head.data) if head else None
        except ContractError:
            return None
        return record if record and record.core in {"completed", "failed"} else None

    return await eventually(ended, within_s)


async def history(nats: Broker, mission: Mission) -> list[str]:
    """Return what the records of a mission are, in order, having checked that they are legal and end once."""
    stored = await nats.bus.records(MISSIONS, subjects.records(mission.queue, mission.mission_id))
    assert_legal_history(stored)
    assert_one_outcome(stored)
    return [
        "proposed" if subjects.is_proposal(one.subject) else str(codec.decode_status(one.data).status) for one in stored
    ]


async def sweeps(url: str, outcome: str = "done") -> int:
    """Return how many sweeps an orchestrator has done."""
    text = (await asyncio.to_thread(lambda: urlopen(f"{url}/metrics", timeout=5).read())).decode()
    found = re.search(rf'^missions_sweeps_total{{outcome="{outcome}"}} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


async def is_up(url: str) -> bool:
    """Tell whether an orchestrator answers."""
    try:
        await sweeps(url)
    except OSError:
        return False
    return True


async def some_sweeps(url: str, count: int = 12) -> None:
    """Wait until everything that stands now was swept, and was silent for longer than a lost mission is."""
    await eventually(lambda: is_up(url))
    before = await sweeps(url)

    async def enough() -> bool:
        return await sweeps(url) >= before + count

    await eventually(enough, within_s=30)


# Lost, and put back


async def test_a_work_item_that_somebody_acknowledged_is_put_back_and_done(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await take_item(nats, b"+ACK")
        async with executing(nats.settings):
            assert (await outcome(nats, mission)).status is Status.COMPLETED
        assert await history(nats, mission) == ["proposed", "proposed", "active", "completed"]
        assert "hi" in (await nats.reply(mission, "result")).text


async def test_a_work_item_that_was_delivered_too_often_is_put_back_and_done(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await limit_deliveries(nats, 1)
        await take_item(nats, None)  # by an executor that dies
        again = await eventually(lambda: second_item(nats, mission))
        assert (again.event_id, again.after) == (ids.sweep_id(mission.mission_id, 1), "")
        await limit_deliveries(nats, -1)
        async with executing(nats.settings):
            assert (await outcome(nats, mission)).status is Status.COMPLETED


async def test_an_owner_that_dies_after_its_work_item_was_lost_is_replaced(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await nats.write_status(mission, Status.ACTIVE)
        await take_item(nats, b"+TERM")
        async with executing(nats.settings):
            last = await outcome(nats, mission)
            assert (last.status, last.attempt) == (Status.COMPLETED, 2)
        assert await history(nats, mission) == ["proposed", "active", "proposed", "active", "completed"]


async def test_an_answer_whose_work_item_was_never_published_lets_the_mission_go_on(nats: Broker) -> None:
    mission = await waiting(nats)
    answer = Answer(key="sure?", value=True, by="ann")
    answered = GoalStatus(id="g1", kind="echo", status="answered", answer=answer)
    head = (await nats.wait_for(MISSIONS, subjects.status("default", mission.mission_id))).seq
    await nats.write_status(mission, Status.WAITING, expected=head, phase="answered", goal=answered)
    async with orchestrator(nats.settings), executing(nats.settings):
        assert (await outcome(nats, mission)).status is Status.COMPLETED
    told = await history(nats, mission)
    assert told == ["proposed", "active", "waiting", "waiting", "proposed", "active", "completed"]


async def test_a_later_proposal_that_cannot_be_read_does_not_hide_the_first(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await take_item(nats, b"+ACK")
        await nats.bus.publish_acked(subjects.proposed("default", mission.mission_id), b"{")
        await take_item(nats, b"+TERM")
        async with executing(nats.settings):
            assert (await outcome(nats, mission)).status is Status.COMPLETED


# Lost, and ended


async def test_a_mission_that_is_lost_again_once_it_was_put_back_fails(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await nats.write_status(mission, Status.ACTIVE)
        subject = subjects.status("default", mission.mission_id)
        await nats.bus.publish_acked(subject, b'{"status":"of the future","attempt":1}')
        async with executing(nats.settings):  # it cannot take over what it cannot read
            last = await outcome(nats, mission)
        assert (last.status, last.reason, last.attempt) == (Status.FAILED, "work_item_lost", 1)
        assert await nats.count(DEADLETTERS) >= 2
        assert "work_item_lost" in (await nats.reply(mission, "error")).text


async def test_a_mission_whose_proposal_was_removed_fails_once_nobody_can_have_it_any_more(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await nats.write_status(mission, Status.ACTIVE)
        subject = subjects.proposed("default", mission.mission_id)
        await nats.bus.api(f"STREAM.PURGE.{MISSIONS}", {"filter": subject})
        last = await outcome(nats, mission)
        assert (last.status, last.reason) == (Status.FAILED, "work_item_lost")


async def test_a_wish_to_cancel_that_nobody_heard_is_fulfilled(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats)
        await nats.write_status(mission, Status.ACTIVE)
        await take_item(nats, b"+ACK")
        command = Command(kind="cancel", mission_id=mission.mission_id, reason="not needed")
        await nats.say(ChatEvent(conversation="ops", command=command))
        last = await outcome(nats, mission)
        assert (last.status, last.reason, last.error and last.error.message) == (
            Status.CANCELLED,
            "user",
            "not needed",
        )


async def test_a_refusal_that_was_not_written_down_is_one(nats: Broker) -> None:
    event = ChatEvent(id="e", conversation="ops", text="gibberish")
    mission = planner.refused_mission(event, now=LOST_LONG_AGO)
    await nats.bus.publish_acked(subjects.proposed(mission.queue, mission.mission_id), codec.encode(mission))
    async with orchestrator(nats.settings):
        last = await outcome(nats, mission)
        assert (last.status, last.reason) == (Status.REJECTED, "refused")
        assert "Say it again" in (await nats.reply(mission, "error")).text


# Its schedule is lost


async def test_a_deadline_whose_schedule_was_dropped_ends_a_mission_that_nobody_started(nats: Broker) -> None:
    async with orchestrator(nats.settings):
        mission = await proposed(nats, queue="gpu", deadline_s=0.5)
        await nats.bus.api(f"STREAM.PURGE.{SCHEDULES}")
        last = await outcome(nats, mission)
        assert (last.status, last.reason, last.attempt) == (Status.FAILED, "deadline_exceeded", 0)


async def test_a_deadline_whose_schedule_was_dropped_ends_a_mission_that_waits(nats: Broker) -> None:
    mission = await waiting(nats, deadline_s=0.5)
    async with orchestrator(nats.settings):
        last = await outcome(nats, mission)
        assert (last.status, last.reason) == (Status.FAILED, "deadline_exceeded")


async def test_a_question_whose_schedule_was_dropped_expires(nats: Broker) -> None:
    mission = await waiting(nats, expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
    async with orchestrator(nats.settings), executing(nats.settings):
        assert (await outcome(nats, mission)).status is Status.COMPLETED  # `echo` does not care
    answers = [record.goal.answer for record in await nats.statuses(mission) if record.goal and record.goal.answer]
    assert [answer.expired for answer in answers] == [True]


# Several sweeps


async def test_of_three_sweeps_one_puts_a_mission_back(nats: Broker) -> None:
    settings = nats.settings
    async with orchestrator(settings) as first, orchestrator(settings) as second, orchestrator(settings) as third:
        mission = await proposed(nats)
        await take_item(nats, b"+ACK")
        for url in (first, second, third):
            await some_sweeps(url)
        async with executing(settings):
            assert (await outcome(nats, mission)).status is Status.COMPLETED
    assert (await history(nats, mission)).count("proposed") == 2


async def test_more_open_missions_than_can_be_kept_in_mind_hide_no_lost_one(
    nats: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "MOST_OPEN", 3)
    async with orchestrator(nats.settings) as url:
        for number in range(8):
            await nats.say(ChatEvent(id=f"gpu-{number}", conversation="ops", queue="gpu", text="/run echo"))
        mission = await proposed(nats)
        await some_sweeps(url)
        await take_item(nats, b"+ACK")
        await eventually(lambda: second_item(nats, mission), 20)


# Not lost


async def test_a_mission_that_nobody_serves_is_left_alone(nats: Broker) -> None:
    async with orchestrator(nats.settings) as url:
        unserved = await proposed(nats)
        await nats.say(ChatEvent(id="g", conversation="ops", queue="gpu", text="/run echo"))
        await nats.proposal("ops", "g")
        await some_sweeps(url)
        assert [mission.event_id for mission in await nats.proposals()] == [
            f"{mission.mission_id}.0.1" for mission in await nats.proposals()
        ]
        assert await nats.statuses(unserved) == []


async def test_a_mission_that_waits_for_an_answer_is_left_alone(nats: Broker) -> None:
    mission = await waiting(nats, expires_at=datetime.now(UTC) + timedelta(hours=1))
    async with orchestrator(nats.settings) as url:
        await some_sweeps(url)
        assert [record.status for record in await nats.statuses(mission)] == [Status.ACTIVE, Status.WAITING]
        assert (await nats.bus.stream_state(MISSIONS)).messages == 3


async def test_whoever_waits_with_an_owner_is_left_alone(nats: Broker) -> None:
    """For the time of a retry, for its turn, or for a handler that is slow and silent."""
    gate = threading.Event()

    @goal("slow", concurrency=1, timeout=60)
    async def slow(ctx: Context) -> str:
        await asyncio.to_thread(gate.wait)
        return "done"

    @goal("later", retries=1, backoff=60)
    async def later(ctx: Context) -> None:
        raise RuntimeError("not yet")

    try:
        async with orchestrator(nats.settings) as url, executing(nats.settings, slow, later):
            asked = [("a", "slow"), ("b", "slow"), ("c", "later")]
            for event_id, kind in asked:
                await nats.say(ChatEvent(id=event_id, conversation="ops", goals=(GoalRequest(kind=kind),)))
            await eventually(lambda: phases(nats), 10)
            await some_sweeps(url)
            assert {mission.event_id.rsplit(".", 2)[1] for mission in await nats.proposals()} == {"0"}
            gate.set()
            for event_id in ("a", "b"):
                last = await outcome(nats, await nats.proposal("ops", event_id))
                assert (last.status, last.attempt) == (Status.COMPLETED, 1)
    finally:
        gate.set()


async def phases(nats: Broker) -> bool:
    """Tell whether one mission runs, one waits for its turn and one for its retry."""
    heads = [codec.decode_status(one.data) for one in await nats.bus.last_per_subject(MISSIONS, subjects.STATUS_ALL)]
    return {head.phase for head in heads} == {"", "queued", "backing_off"}


async def limit_deliveries(nats: Broker, most: int) -> None:
    """Do what an operator may: change how often the broker delivers a work item."""
    config = (await nats.bus.api(f"CONSUMER.INFO.{MISSIONS}.{EXECUTORS}"))["config"] | {"max_deliver": most}
    await nats.bus.api(f"CONSUMER.CREATE.{MISSIONS}.{EXECUTORS}", {"stream_name": MISSIONS, "config": config})


async def second_item(nats: Broker, mission: Mission) -> Mission | None:
    """Return the work item that took the place of the first, once there is one."""
    items = await nats.bus.records(MISSIONS, subjects.proposed("default", mission.mission_id))
    return codec.decode_mission(items[-1].data) if len(items) > 1 else None


async def waiting(nats: Broker, expires_at: datetime | None = None, deadline_s: float | None = None) -> Mission:
    """Put a mission on the broker that asked a question, and whose schedules are lost."""
    event = ChatEvent(id="e", conversation="ops", text="/run echo", deadline_s=deadline_s)
    mission = planner.plan(event, Kinds(), now=datetime.now(UTC))
    assert isinstance(mission, Mission)
    await nats.bus.publish_acked(subjects.proposed("default", mission.mission_id), codec.encode(mission))
    await take_item(nats, b"+ACK")
    head = await nats.write_status(mission, Status.ACTIVE)
    question = Question(key="sure?", text="Sure?", expires_at=expires_at)
    asking = GoalStatus(id="g1", kind="echo", status="waiting", question=question)
    await nats.write_status(mission, Status.WAITING, expected=head, phase="asking", goal=asking)
    return mission
