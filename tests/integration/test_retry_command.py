"""The command `retry`: a new mission with the goals of one that did not complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, Command, Goal, Mission
from services.executor.context import Context
from services.executor.registry import goal
from tests.support.broker import Broker, connected
from tests.support.executing import executing
from tests.support.orchestrating import orchestrator
from tests.support.outcomes import shape


@pytest.fixture
async def broker(nats_url: str) -> AsyncIterator[Broker]:
    async with connected(nats_url) as broker, orchestrator(broker.settings):
        yield broker


async def retry(broker: Broker, mission_id: str, event_id: str = "again") -> str:
    event = ChatEvent(
        id=event_id, conversation="ops", sender="ann", command=Command(kind="retry", mission_id=mission_id)
    )
    await broker.bus.publish_acked("chat.events.ops", codec.encode(event))
    return ids.mission_id("ops", event_id)


async def proposal(broker: Broker, mission_id: str) -> Mission:
    stored = await broker.bus.head(topology.MISSIONS, subjects.proposed("*", mission_id))
    assert stored is not None
    return codec.decode_mission(stored.data)


async def test_what_was_finished_is_kept_and_the_rest_runs_again(broker: Broker) -> None:
    ran: list[str] = []
    works: list[bool] = []

    @goal("step")
    def step(name: str) -> str:
        ran.append(name)
        if name == "second" and not works:
            raise RuntimeError("not yet")
        return name.upper()

    async with executing(broker.settings, step):
        goals = [
            Goal(id="a", kind="step", params={"name": "first"}),
            Goal(id="b", kind="step", params={"name": "second"}, needs=("a",)),
        ]
        old = await broker.propose(*goals, title="two steps")
        assert (await broker.outcome(old)).status is Status.FAILED
        works.append(True)
        new = await retry(broker, old)
        outcome = await broker.outcome(new)
        assert (outcome.status, outcome.result) == (Status.COMPLETED, "SECOND")
        assert ran == ["first", "second", "second"]
        records = await broker.records(new)
        assert shape(records) == ["active", "active/goal_done", "active/goal_done", "completed"]
        assert records[1].reason == "kept"
        assert records[1].goal is not None
        assert records[1].goal.result == "FIRST"
        mission = await proposal(broker, new)
        assert (mission.retry_of, mission.title, mission.requested_by) == (old, "two steps", "ann")
        assert (mission.conversation, mission.causation_id) == ("ops", "again")


async def test_a_goal_whose_artifacts_go_with_the_old_mission_runs_again(broker: Broker) -> None:
    ran: list[str] = []

    @goal("draw")
    def draw(ctx: Context) -> str:
        ran.append(ctx.mission_id)
        return ctx.artifact("drawing.svg", "<svg/>").name

    @goal("large")
    def large() -> str:
        return "x" * 200_000

    async with executing(broker.settings, draw, large):
        goals = [Goal(id=name, kind=name) for name in ("draw", "large")]
        old = await broker.propose(*goals, Goal(id="c", kind="fail", needs=("draw", "large")))
        assert (await broker.outcome(old)).status is Status.FAILED
        new = await retry(broker, old)
        await broker.outcome(new)
        assert ran == [old, new]
        assert "kept" not in [record.reason for record in await broker.records(new)]


async def test_a_retry_said_twice_is_one_mission(broker: Broker) -> None:
    async with executing(broker.settings):
        old = await broker.propose(Goal(id="g1", kind="fail"))
        await broker.outcome(old)
        await asyncio.gather(*(retry(broker, old) for _ in range(5)))
        new = await retry(broker, old)
        assert (await broker.outcome(new)).status is Status.FAILED
        assert len(await broker.records(new)) == 2


async def test_a_retry_has_as_long_as_the_mission_before_had(broker: Broker) -> None:
    event = ChatEvent(id="e", conversation="ops", text="/run sleep seconds=30", deadline_s=0.5)
    await broker.bus.publish_acked("chat.events.ops", codec.encode(event))
    async with executing(broker.settings):
        old = ids.mission_id("ops", "e")
        assert (await broker.outcome(old)).reason == "deadline_exceeded"
        new = await retry(broker, old)
        assert (await broker.outcome(new)).reason == "deadline_exceeded"
        mission = await proposal(broker, new)
        assert mission.deadline is not None
        assert (mission.deadline - mission.at).total_seconds() == 0.5


@pytest.mark.parametrize(
    ("old", "reason"), [("completed", "completed"), ("running", "not_ended"), ("refused", "no_goals")]
)
async def test_only_what_ended_without_success_is_retried(broker: Broker, old: str, reason: str) -> None:
    async with executing(broker.settings):
        if old == "refused":
            await broker.bus.publish_acked("chat.events.ops", b'{"id": "odd", "text": "gibberish"}')
            mission_id = ids.mission_id("ops", "odd")
        else:
            kind = "echo" if old == "completed" else "nobody.serves"
            queue = "default" if old == "completed" else "nobody"
            mission_id = await broker.propose(Goal(id="g1", kind=kind), queue=queue)
        if old != "running":
            await broker.outcome(mission_id)
        refused = await broker.outcome(await retry(broker, mission_id))
        assert (refused.status, refused.reason) == (Status.REJECTED, reason)


async def test_a_retry_of_no_mission_is_refused_in_the_end(broker: Broker) -> None:
    await broker.bus.publish_acked("chat.events.ops", b'{"id": "again", "text": "/retry %s"}' % (b"a" * 26))
    refused = await broker.outcome(ids.mission_id("ops", "again"))
    assert (refused.status, refused.reason) == (Status.REJECTED, "no_such_mission")
