"""What is said late, while the broker is slow or away, and where it stands among the records of its mission."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts import codec, ids, subjects, topology
from contracts.errors import Lost, MaybeStored
from contracts.lifecycle import Status
from contracts.messages import Answer, Goal, GoalStatus, Mission, StatusRecord, now, status_record
from contracts.questions import ANSWERED
from missions.nats_server import NatsServer
from services.executor import attempt
from services.executor.context import Context
from services.executor.executor import Executor
from services.executor.ledger import Ledger
from services.executor.loading import load_registry
from services.executor.registry import goal
from services.executor.runner import Outcome
from services.runtime.bus import Bus, PubAck
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.writer import Writer
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually
from tests.support.outcomes import ask_to_stop, assert_legal, shape
from tests.support.placed import is_alive
from tests.support.proxy import Proxy
from tests.support.work_items import work_item


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


async def proposed(broker: Broker, *goals: Goal, **fields: Any) -> tuple[str, Incoming]:
    """Propose a mission; return its id and its work item."""
    item = await work_item(broker, *goals, **fields)
    return codec.decode_mission(item.data).mission_id, item


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
        mission_id, item = await proposed(broker, *(Goal(id=f"g{number}", kind="tells") for number in range(3)))
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


async def test_a_goal_that_is_done_waits_for_the_broker_and_does_not_run_again(nats_server: NatsServer) -> None:
    ran: list[str] = []
    go = threading.Event()

    @goal("counted")
    def counted(name: str) -> None:
        ran.append(name)
        go.wait(10)

    async with (
        connected(nats_server.url) as broker,
        Proxy(nats_server.port) as proxy,
        executor_behind(proxy, counted) as executor,
    ):
        writer = executor.writer = Impatient(executor.bus, topology.MISSIONS, within_s=0.1)
        goals = [Goal(id=name, kind="counted", params={"name": name}) for name in ("a", "b")]
        mission_id, item = await proposed(broker, *goals, max_parallel=1)
        running = asyncio.ensure_future(attempt.run_mission(item, executor))
        await eventually(lambda: ran)
        proxy.deaf = True
        proxy.cut()
        go.set()
        await eventually(lambda: writer.given_up, within_s=20)
        proxy.deaf = False
        proxy.cut()
        await running
        records = await broker.records(mission_id)
        assert shape(records) == ["active", "active/goal_done", "active/goal_done", "completed"]
        assert ran == ["a", "b"]


class Impatient(Writer):
    """Counts the records that it could not tell to be stored."""

    given_up = 0

    async def acked(self, *args: Any, **options: Any) -> PubAck:
        try:
            return await super().acked(*args, **options)
        except MaybeStored:
            self.given_up += 1
            raise


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation='process' needs Linux")
async def test_who_learns_from_a_goal_that_the_mission_is_lost_kills_the_others_at_once(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    go = threading.Event()

    @goal("quick")
    def quick() -> None:
        go.wait(10)

    async with (
        connected(nats_server.url) as broker,
        Proxy(nats_server.port) as proxy,
        executor_behind(proxy, quick, patient) as executor,
    ):
        file = tmp_path / "pid"
        stays = Goal(id="stays", kind="p.patient", params={"file": str(file)})
        mission_id, item = await proposed(broker, Goal(id="quick", kind="quick"), stays)
        running = asyncio.ensure_future(attempt.run_mission(item, executor))
        owned = await eventually(lambda: executor.leases.get(mission_id))
        pid = int(await eventually(lambda: file.exists() and file.read_text()))
        await usurp(broker, mission_id, owned.ledger.head)
        go.set()
        await eventually(lambda: owned.fenced)  # so that no heartbeat follows
        with pytest.raises(Lost):
            await asyncio.wait_for(running, 15)
        assert not is_alive(pid)


@goal("p.patient", isolation="process", cancel_grace=60)
def patient(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


async def usurp(broker: Broker, mission_id: str, head: int) -> None:
    """Take a mission over, as another executor would."""
    record = status_record(
        event_id=ids.record_id(mission_id, 2, 1),
        mission_id=mission_id,
        status=Status.ACTIVE,
        actor="executor/other",
        attempt=2,
    )
    await broker.missions.write(subjects.status("default", mission_id), codec.encode(record), expected=head)


async def test_a_record_in_doubt_that_had_arrived_is_not_written_again_on_top_of_an_answer(
    nats_server: NatsServer,
) -> None:
    async with connected(nats_server.url) as broker, Proxy(nats_server.port) as proxy:
        bus = await Bus.connect(settings_for(proxy.url), "lossy")
        mission_id = ids.mission_id("test", "answered")
        mission = Mission(mission_id=mission_id, goals=(), event_id="e", at=now())
        ledger = Ledger(bus, Writer(bus, topology.MISSIONS, within_s=0.1), mission, "me", attempt=1, head=0)
        await ledger.claim()
        proxy.deaf = True
        noting = asyncio.ensure_future(ledger.note("goal_done"))
        subject = subjects.status("default", mission_id)
        await eventually(lambda: arrived(broker, mission_id, 2))
        head = await broker.bus.head(topology.MISSIONS, subject)
        assert head is not None
        answer = status_record(
            event_id=f"{mission_id}.answer",
            mission_id=mission_id,
            status=Status.ACTIVE,
            actor="orchestrator",
            attempt=1,
            phase=ANSWERED,
            goal=GoalStatus(id="g1", kind="asks", status=ANSWERED, answer=Answer(key="Well?", value=True)),
        )
        await broker.missions.write(subject, codec.encode(answer), expected=head.seq)
        proxy.deaf = False
        proxy.cut()
        await noting
        await ledger.settle(Outcome(Status.COMPLETED, "ok"))
        assert shape(await broker.records(mission_id)) == ["active", "active/goal_done", "active/answered", "completed"]
        await bus.close()


class Raced(Writer):
    """Lets somebody ask for a stop just before the first finished goal is written."""

    broker: Broker
    mission_id = ""

    async def acked(self, subject: str, data: bytes, **options: Any) -> PubAck:
        if b"goal_done" in data and self.mission_id:
            mission_id, self.mission_id = self.mission_id, ""
            await ask_to_stop(self.broker, mission_id)
        return await super().acked(subject, data, **options)


async def test_a_wish_to_cancel_is_heard_while_a_retry_takes_over_what_was_finished(nats_server: NatsServer) -> None:
    async with (
        connected(nats_server.url) as broker,
        Proxy(nats_server.port) as proxy,
        executor_behind(proxy) as executor,
    ):
        goals = [Goal(id="a", kind="echo", params={"text": "a"}), Goal(id="b", kind="fail", needs=("a",))]
        old, item = await proposed(broker, *goals)
        await attempt.run_mission(item, executor)
        writer = executor.writer = Raced(executor.bus, topology.MISSIONS)
        new, item = await proposed(broker, *goals, retry_of=old)
        writer.broker, writer.mission_id = broker, new
        await attempt.run_mission(item, executor)
        assert shape(await broker.records(new)) == ["active", "active/cancelling", "cancelled/stopped"]


async def arrived(broker: Broker, mission_id: str, count: int) -> bool:
    return len(await broker.records(mission_id)) == count


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
            await ledger.mention("progress")
        stored = await broker.bus.records(topology.MISSIONS, subjects.status("default", mission.mission_id))
        assert len(stored) == 2
        assert codec.decode_status(stored[-1].data).status is not Status.ACTIVE
