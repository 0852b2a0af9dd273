"""The one consume loop: which outcome becomes which answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts import subjects, topology
from contracts.errors import DecodeError, Lost, MaybeStored
from contracts.messages import Goal
from missions.nats_server import NatsServer
from services.runtime.consumer import Consumer, Handle
from services.runtime.health import Health
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.puller import Puller
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually

CHAT_DURABLE = (topology.CHAT, topology.ORCHESTRATOR)


@asynccontextmanager
async def consuming(
    broker: Broker,
    handle: Handle,
    *,
    slots: int = 10,
    health: Health | None = None,
    durable: tuple[str, str] = CHAT_DURABLE,
) -> AsyncIterator[Stop]:
    consumer = Consumer(
        broker.bus, *durable, service="test", slots=slots, metrics=Metrics("test"), health=health or Health()
    )
    stop = Stop()
    running = asyncio.ensure_future(consumer.run(handle, stop, grace_s=1))
    try:
        yield stop
    finally:
        stop.set()
        await running


async def say(broker: Broker, text: str) -> None:
    await broker.chat.write(subjects.chat_events("ops"), text.encode(), expected=None)


async def done_with(broker: Broker) -> bool:
    return await broker.unacknowledged(topology.ORCHESTRATOR, topology.CHAT) == 0


async def test_what_is_stored_is_acknowledged(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        seen: list[str] = []

        async def handle(incoming: Incoming) -> None:
            seen.append(incoming.data.decode())

        async with consuming(broker, handle):
            for text in ("a", "b", "c"):
                await say(broker, text)
            await eventually(lambda: seen == ["a", "b", "c"])
            await eventually(lambda: done_with(broker))


async def test_what_cannot_be_understood_is_kept_whole_with_the_reason(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        calls = 0

        async def handle(_: Incoming) -> None:
            nonlocal calls
            calls += 1
            raise DecodeError("no good", pointer="/goals")

        async with consuming(broker, handle):
            await say(broker, '{"broken": ')
            await eventually(lambda: done_with(broker))
        dead = await broker.bus.head(topology.DEADLETTERS, subjects.deadletters("test"))
        assert dead is not None
        assert dead.data == b'{"broken": '
        assert dead.headers["Missions-Reason"] == "no good (at /goals)"
        assert dead.headers["Missions-Subject"] == "chat.events.ops"
        assert calls == 1


async def test_what_is_not_stored_comes_again(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        deliveries: list[int] = []

        async def handle(incoming: Incoming) -> None:
            deliveries.append(incoming.deliveries)
            if incoming.deliveries < 3:
                raise MaybeStored

        async with consuming(broker, handle):
            await say(broker, "x")
            await eventually(lambda: deliveries == [1, 2, 3])
            await eventually(lambda: done_with(broker))


async def test_our_own_bug_does_not_stop_the_loop(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        seen: list[str] = []

        async def handle(incoming: Incoming) -> None:
            seen.append(incoming.data.decode())
            if incoming.deliveries == 1 and incoming.data == b"bad":
                raise ZeroDivisionError

        async with consuming(broker, handle):
            await say(broker, "bad")
            await say(broker, "good")
            await eventually(lambda: sorted(seen) == ["bad", "bad", "good"])


async def test_who_lost_sends_nothing(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        seen: list[int] = []

        async def handle(incoming: Incoming) -> None:
            seen.append(incoming.seq)
            raise Lost(incoming.subject)

        async with consuming(broker, handle):
            await say(broker, "x")
            await eventually(lambda: seen)
            await say(broker, "y")
            await eventually(lambda: len(seen) == 2)
        info = await broker.bus.api("CONSUMER.INFO.CHAT.orchestrator")
        assert info["num_ack_pending"] == 2
        assert info["num_redelivered"] == 0


async def test_who_could_not_store_in_time_leaves_the_message_to_whoever_has_it_by_now(nats_url: str) -> None:
    async with connected(nats_url, lease_s=0.5) as broker:
        late, over = asyncio.Event(), asyncio.Event()
        answers: list[bytes] = []

        async def handle(incoming: Incoming) -> None:
            if incoming.deliveries == 1:
                await late.wait()
                over.set()
                raise MaybeStored
            late.set()
            await over.wait()

        async def on_answer(incoming: Incoming) -> None:
            answers.append(incoming.data)

        await broker.bus.subscribe("$JS.ACK.MISSIONS.executor-default.>", on_answer)
        async with consuming(broker, handle, durable=(topology.MISSIONS, "executor-default")):
            await broker.propose(Goal(id="g1", kind="echo"))
            await eventually(lambda: answers)
        assert answers == [b"+ACK"]


async def test_no_more_is_fetched_than_can_start(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        running = 0
        most = 0
        free = asyncio.Event()

        async def handle(_: Incoming) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await free.wait()
            running -= 1

        async with consuming(broker, handle, slots=4):
            for n in range(20):
                await say(broker, str(n))
            await eventually(lambda: running == 4)
            info = await broker.bus.api("CONSUMER.INFO.CHAT.orchestrator")
            assert info["num_ack_pending"] == 4
            free.set()
            await eventually(lambda: done_with(broker))
        assert most == 4


async def test_requests_do_not_gather_while_the_broker_is_away(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as broker:
        puller = Puller(broker.bus, *CHAT_DURABLE)
        await puller.open()
        nats_server.kill()
        await eventually(lambda: not broker.bus.connected)
        for _ in range(5):
            puller.forget_request()
            await puller.ask(10)
        assert puller.credit == 0
        assert puller.problem
        nats_server.restart()
        await eventually(lambda: broker.bus.connected)
        for n in range(50):
            await say(broker, str(n))
        await puller.ask(10)
        await eventually(lambda: len(puller.buffer) == 10)
        assert await broker.unacknowledged(topology.ORCHESTRATOR, topology.CHAT) == 50
        assert (await broker.bus.api("CONSUMER.INFO.CHAT.orchestrator"))["num_ack_pending"] == 10
        await puller.close()


async def test_what_has_not_finished_at_the_end_is_not_acknowledged(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        started = asyncio.Event()

        async def handle(_: Incoming) -> None:
            started.set()
            await asyncio.Event().wait()

        async with consuming(broker, handle):
            await say(broker, "x")
            await started.wait()
        assert await broker.unacknowledged(topology.ORCHESTRATOR, topology.CHAT) == 1


async def test_consuming_survives_a_broker_that_is_killed(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as broker:
        seen: list[str] = []
        health = Health()

        async def handle(incoming: Incoming) -> None:
            seen.append(incoming.data.decode())

        async with consuming(broker, handle, health=health):
            await say(broker, "before")
            await eventually(lambda: seen == ["before"])
            nats_server.kill()
            nats_server.restart()
            await say(broker, "after")
            await eventually(lambda: "after" in seen)
            await eventually(lambda: health.ready)


async def test_a_consumer_that_is_deleted_turns_readiness_red_and_its_return_green(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        health = Health()
        seen: list[str] = []

        async def handle(incoming: Incoming) -> None:
            seen.append(incoming.data.decode())

        async with consuming(broker, handle, health=health):
            await eventually(lambda: health.ready)
            await broker.bus.api("CONSUMER.DELETE.CHAT.orchestrator")
            await eventually(lambda: not health.ready)
            assert "missions setup" in "".join(health.reasons().values())
            spec = topology.CONSUMERS[0]
            await broker.bus.api("CONSUMER.CREATE.CHAT.orchestrator", {"stream_name": "CHAT", "config": spec.config})
            await say(broker, "back")
            await eventually(lambda: seen == ["back"])
            await eventually(lambda: health.ready)


@pytest.mark.parametrize("quiet", [0, 1])
async def test_after_an_empty_wait_a_message_arrives_at_once(nats_url: str, quiet: int) -> None:
    async with connected(nats_url) as broker:
        arrived = asyncio.Event()

        async def handle(_: Incoming) -> None:
            arrived.set()

        async with consuming(broker, handle):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(arrived.wait(), quiet or 0.01)
            await say(broker, "x")
            await asyncio.wait_for(arrived.wait(), 1)
