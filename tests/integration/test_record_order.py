"""What is said late, while the broker is slow or away, and where it stands among the records of its mission."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contracts import codec, ids, subjects, topology
from contracts.errors import Lost
from contracts.lifecycle import Status
from contracts.messages import Goal, Mission, StatusRecord, now
from missions.nats_server import NatsServer
from services.executor import attempt
from services.executor.context import Context
from services.executor.executor import Executor
from services.executor.ledger import Ledger
from services.executor.loading import load_registry
from services.executor.registry import goal
from services.executor.runner import Outcome
from services.runtime.bus import Bus
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.writer import Writer
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually
from tests.support.outcomes import assert_legal, shape
from tests.support.proxy import Proxy


@asynccontextmanager
async def executor_behind(proxy: Proxy, *functions: Any) -> AsyncIterator[Executor]:
    """Make an executor that is given its work items by hand, and speaks to the broker through a proxy."""
    settings = settings_for(proxy.url)
    bus = await Bus.connect(settings, "executor")
    registry = load_registry(())
    for function in functions:
        registry.add(function)
    executor = Executor(bus, registry, settings, Metrics("executor"), 30.0)
    try:
        yield executor
    finally:
        executor.close()
        await bus.close()


class Delivery(Incoming):
    """The first delivery of a work item."""

    def __init__(self, data: bytes, seq: int) -> None:
        self.subject, self.data, self.headers = "", data, {}
        self.reply = f"$JS.ACK.MISSIONS.executor-default.1.{seq}.1.1.0"


async def work_item(broker: Broker, *goals: Goal, **fields: Any) -> tuple[str, Incoming]:
    mission_id = await broker.propose(*goals, **fields)
    stored = await broker.bus.head(topology.MISSIONS, subjects.proposed("default", mission_id))
    assert stored is not None
    return mission_id, Delivery(stored.data, stored.seq)


async def test_progress_that_waited_for_the_broker_never_follows_the_end_of_its_goal(nats_server: NatsServer) -> None:
    go = threading.Event()

    @goal("tells")
    def tells(ctx: Context) -> None:
        ctx.progress(1, 2)
        go.wait(10)

    async with (
        connected(nats_server.url) as broker,
        Proxy(nats_server.port) as proxy,
        executor_behind(proxy, tells) as executor,
    ):
        mission_id, item = await work_item(broker, *(Goal(id=f"g{number}", kind="tells") for number in range(3)))
        running = asyncio.ensure_future(attempt.run_mission(item, executor))
        owned = await eventually(lambda: executor.leases.get(mission_id))
        await eventually(lambda: len(owned.progressed(3)) == 3)
        proxy.hold()
        stop = Stop()
        telling = asyncio.ensure_future(executor.leases.tell_progress(stop))
        await eventually(lambda: proxy.held)
        go.set()
        await eventually(lambda: not owned.reports)
        proxy.let_go()
        await running
        stop.set()
        await telling
        records = await broker.records(mission_id)
        assert_legal(records)
        assert records[-1].status is Status.COMPLETED, shape(records)
        assert last_words(records) == {f"g{number}": "completed" for number in range(3)}


def last_words(records: list[StatusRecord]) -> dict[str, str]:
    """Return the last status of every goal that a record tells."""
    return {record.goal.id: record.goal.status for record in records if record.goal is not None}


@pytest.mark.parametrize("ending", ["settle", "wait"])
async def test_nothing_is_written_on_top_of_a_record_that_ends_the_attempt(nats_url: str, ending: str) -> None:
    async with connected(nats_url) as broker:
        mission = Mission(mission_id=ids.mission_id("test", ending), goals=(), event_id="e", at=now())
        writer = Writer(broker.bus, topology.MISSIONS)
        ledger = Ledger(broker.bus, writer, mission, "executor/me", attempt=1, head=0)
        await ledger.claim()
        await (ledger.settle(Outcome(Status.COMPLETED, "ok")) if ending == "settle" else ledger.wait(None))
        with pytest.raises(Lost):
            await ledger.note("progress")
        stored = await broker.bus.records(topology.MISSIONS, subjects.status("default", mission.mission_id))
        assert len(stored) == 2
        assert codec.decode_status(stored[-1].data).status is not Status.ACTIVE
