"""Late, repeated and superseded work items of a mission that waited: none of them ever fences the owner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Answer, ChatEvent, Command, Goal, GoalStatus, Mission, Question, now, status_record
from contracts.questions import ANSWERED, ASKING
from services.executor import attempt
from services.executor.context import Context
from services.executor.executor import Executor
from services.executor.loading import load_registry
from services.executor.registry import goal
from services.runtime.metrics import Metrics
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually, eventually_sync
from tests.support.outcomes import shape
from tests.support.work_items import Delivery

QUESTION = Question(key="Well?", text="Well?")


@goal("ask")
def ask(ctx: Context) -> Any:
    return ctx.ask("Well?")


class Mine:
    """A mission on the broker, whose records the test writes, and executors that are given its work items by hand."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.mission = Mission(
            mission_id=ids.mission_id("test", "mine"), goals=(Goal(id="g1", kind="ask"),), event_id="e", at=now()
        )
        self.status = subjects.status("default", self.mission.mission_id)
        self.proposed = subjects.proposed("default", self.mission.mission_id)
        self.items: list[tuple[bytes, int]] = []
        self.head = 0

    async def write(self, event_id: str, status: Status, phase: str = "", number: int = 1, **goal: Any) -> None:
        said = GoalStatus(id="g1", kind="ask", status="x", **goal) if goal else None
        record = status_record(
            event_id=event_id,
            mission_id=self.mission.mission_id,
            status=status,
            actor="executor/other",
            attempt=number,
            phase=phase,
            goal=said,
        )
        self.head = await self.broker.missions.write(self.status, codec.encode(record), expected=self.head)

    async def propose(self, after: str = "") -> None:
        data = codec.encode(replace(self.mission, after=after))
        expected = self.items[-1][1] if self.items else 0
        self.items.append((data, await self.broker.missions.write(self.proposed, data, expected=expected)))

    async def waited(self) -> None:
        """Let the mission be where it is just before its second owner: asked, answered, proposed again."""
        await self.propose()
        await self.write("a1", Status.ACTIVE)
        await self.write("w1", Status.WAITING, ASKING, question=QUESTION)
        await self.write("w2", Status.WAITING, ANSWERED, answer=Answer(key="Well?", value="yes"))
        await self.propose(after="w2")

    async def deliver(self, executor: Executor, number: int, deliveries: int = 1) -> str:
        """Give an item to an executor; return how it is answered: `ack`, or the error's name."""
        try:
            await attempt.run_mission(Delivery(*self.items[number], deliveries), executor)
        except Exception as error:  # noqa: BLE001 - what the consumer would see
            return type(error).__name__
        return "ack"

    async def shape(self) -> list[str]:
        return shape(await self.broker.records(self.mission.mission_id))


@pytest.fixture
async def mine(nats_url: str) -> AsyncIterator[Mine]:
    async with connected(nats_url) as broker:
        yield Mine(broker)


def executor_of(mine: Mine, *functions: Any) -> Executor:
    registry = load_registry(())
    for function in functions or (ask,):
        registry.add(function)
    return Executor(mine.broker.bus, registry, mine.broker.settings, Metrics("executor"), 30.0)


@pytest.fixture
async def executor(mine: Mine) -> AsyncIterator[Executor]:
    made = executor_of(mine)
    yield made
    made.close()


BEFORE = ["active", "waiting/asking", "waiting/answered"]


@pytest.mark.parametrize("deliveries", [1, 2, 7])
async def test_the_item_of_the_answer_resumes(mine: Mine, executor: Executor, deliveries: int) -> None:
    await mine.waited()
    assert await mine.deliver(executor, 1, deliveries) == "ack"
    assert await mine.shape() == [*BEFORE, "active/resumed", "completed"]


@pytest.mark.parametrize("deliveries", [1, 2])
async def test_the_old_item_is_done_with_while_the_mission_waits(
    mine: Mine, executor: Executor, deliveries: int
) -> None:
    await mine.propose()
    await mine.write("a1", Status.ACTIVE)
    await mine.write("w1", Status.WAITING, ASKING, question=QUESTION)
    assert await mine.deliver(executor, 0, deliveries) == "ack"
    assert await mine.shape() == BEFORE[:2]


@pytest.mark.parametrize("deliveries", [1, 2])
async def test_the_old_item_is_done_with_once_it_is_answered(mine: Mine, executor: Executor, deliveries: int) -> None:
    await mine.waited()
    assert await mine.deliver(executor, 0, deliveries) == "ack"
    assert await mine.shape() == BEFORE


@pytest.mark.parametrize("deliveries", [1, 2])
async def test_the_old_item_does_not_fence_the_owner_elsewhere(mine: Mine, executor: Executor, deliveries: int) -> None:
    await mine.waited()
    await mine.write("a2", Status.ACTIVE, number=2)
    assert await mine.deliver(executor, 0, deliveries) == "ack"
    assert await mine.shape() == [*BEFORE, "active"]


async def test_the_item_of_the_answer_takes_over_from_its_dead_owner(mine: Mine, executor: Executor) -> None:
    await mine.waited()
    await mine.write("a2", Status.ACTIVE, number=2)
    assert await mine.deliver(executor, 1, deliveries=2) == "ack"
    assert await mine.shape() == [*BEFORE, "active", "active/recovering", "completed"]


async def test_an_item_is_for_one_head_only(mine: Mine, executor: Executor) -> None:
    await mine.waited()
    await mine.write("w3", Status.WAITING, ANSWERED, answer=Answer(key="another", value="no"))
    await mine.propose(after="w3")
    assert await mine.deliver(executor, 1) == "ack"
    assert await mine.shape() == [*BEFORE, "waiting/answered"]
    assert await mine.deliver(executor, 2) == "ack"
    assert (await mine.shape())[-2:] == ["active/resumed", "completed"]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("deliveries", [1, 2])
async def test_every_item_of_a_mission_that_is_over_may_go(
    mine: Mine, executor: Executor, number: int, deliveries: int
) -> None:
    await mine.waited()
    await mine.write("c", Status.CANCELLED)
    assert await mine.deliver(executor, number, deliveries) == "ack"
    assert await mine.shape() == [*BEFORE, "cancelled"]


async def test_an_item_whose_records_are_gone_may_go(mine: Mine, executor: Executor) -> None:
    await mine.propose(after="w2")
    assert await mine.deliver(executor, 0) == "ack"
    assert await mine.shape() == []


async def test_the_old_item_does_not_disturb_the_owner_in_its_own_process(mine: Mine) -> None:
    go, ran = threading.Event(), threading.Event()

    @goal("ask")
    def slow(ctx: Context) -> Any:
        ran.set()
        eventually_sync(go.is_set)
        return ctx.ask("Well?")

    executor = executor_of(mine, slow)
    await mine.waited()
    running = asyncio.ensure_future(mine.deliver(executor, 1))
    await eventually(ran.is_set)
    owned = executor.leases.get(mine.mission.mission_id)
    assert owned is not None
    reply = owned.work.reply
    assert await mine.deliver(executor, 0, deliveries=3) == "ack"
    assert owned.work.reply == reply
    assert await mine.deliver(executor, 1, deliveries=2) == "Lost"
    assert owned.work.reply != reply
    go.set()
    assert await running == "ack"
    assert await mine.shape() == [*BEFORE, "active/resumed", "completed"]
    executor.close()


async def test_two_executors_that_get_the_same_item_leave_one_owner(mine: Mine, executor: Executor) -> None:
    other = executor_of(mine)
    await mine.waited()
    both = await asyncio.gather(mine.deliver(executor, 1), mine.deliver(other, 1, deliveries=2))
    assert "ack" in both
    assert (await mine.shape()).count("completed") == 1
    other.close()


async def test_a_wish_to_cancel_that_comes_first_leaves_nothing_waiting(mine: Mine) -> None:
    go, ran = threading.Event(), threading.Event()

    @goal("ask")
    def slow(ctx: Context) -> Any:
        ran.set()
        eventually_sync(go.is_set)
        return ctx.ask("Well?")

    executor = executor_of(mine, slow)
    await mine.propose()
    running = asyncio.ensure_future(mine.deliver(executor, 0))
    await eventually(ran.is_set)
    head = await mine.broker.bus.head(topology.MISSIONS, mine.status)
    assert head is not None
    mine.head = head.seq
    await mine.write("c", Status.ACTIVE, "cancelling")
    go.set()
    assert await running == "ack"
    assert await mine.shape() == ["active", "active/cancelling", "cancelled/stopped"]
    executor.close()


def test_a_command_names_what_it_is_about() -> None:
    command = Command(kind="answer", mission_id="m", answer="yes")
    assert (
        codec.decode_chat_event(
            codec.encode(ChatEvent(id="e", command=command)), conversation="c", fallback_id=""
        ).command
        == command
    )
