"""Who owns a mission, and what becomes of it when owners die, are fenced, cancelled or stopped."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from contracts import codec, ids, subjects, topology
from contracts.errors import MaybeStored
from contracts.lifecycle import Status
from contracts.messages import Goal, GoalStatus, Mission, now, status_record
from missions.nats_server import NatsServer
from services.executor.context import Context
from services.executor.ledger import Ledger
from services.executor.registry import goal
from services.executor.runner import Outcome
from services.runtime.bus import Bus
from services.runtime.writer import Writer
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.outcomes import ask_to_stop, run, shape
from tests.support.proxy import Proxy


async def abandoned(
    broker: Broker, *goals: Goal, attempts: int = 1, phase: str = "", reason: str = "", **fields: Any
) -> str:
    """Put a mission on the broker as owners that died have left it: the work item delivered, `active` written."""
    mission_id = ids.mission_id("test", f"abandoned-{attempts}-{phase}-{reason}-{len(goals)}")
    head = 0
    for attempt in range(1, attempts + 1):
        record = status_record(
            event_id=ids.record_id(mission_id, attempt, 1),
            mission_id=mission_id,
            status=Status.ACTIVE,
            actor="executor/dead",
            attempt=attempt,
            phase=phase if attempt == attempts else "",
            reason=reason,
            **fields,
        )
        subject = subjects.status("default", mission_id)
        head = await broker.missions.write(subject, codec.encode(record), expected=head)
    await broker.propose(*goals, mission_id=mission_id)
    return mission_id


async def test_another_attempt_fences_the_dead_owner_and_reuses_what_it_finished(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        finished = GoalStatus(id="a", kind="fail", status="completed", attempt=1, result="from before")
        mission_id = await abandoned(
            broker,
            Goal(id="a", kind="fail"),
            Goal(id="b", kind="echo", params={"text": "b"}),
            phase="goal_done",
            goal=finished,
        )
        outcome = await broker.outcome(mission_id)
        assert outcome.status == Status.COMPLETED
        assert outcome.attempt == 2
        assert outcome.result == {"a": "from before", "b": "b"}
        assert shape(await broker.records(mission_id))[1] == "active/recovering"


async def test_a_mission_that_killed_its_owners_fails_as_poison(nats_url: str) -> None:
    async with connected(nats_url, max_owners=3) as broker, executing(broker.settings):
        mission_id = await abandoned(broker, Goal(id="g1", kind="echo"), attempts=3)
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.FAILED, "poison")


async def test_an_owner_that_died_while_being_cancelled_leaves_a_cancelled_mission(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        mission_id = await abandoned(broker, Goal(id="g1", kind="echo"), phase="cancelling", reason="user")
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.CANCELLED, "user")


@pytest.mark.parametrize("signalled", [True, False])
async def test_a_wish_to_cancel_reaches_the_owner_with_and_without_its_signal(nats_url: str, signalled: bool) -> None:
    stopped = threading.Event()

    @goal("watchful")
    def watchful(ctx: Context) -> None:
        eventually_sync(lambda: ctx.cancelled, within_s=20)
        stopped.set()

    async with connected(nats_url, lease_s=1.5) as broker, executing(broker.settings, watchful):
        mission_id = await broker.propose(Goal(id="g1", kind="watchful"))
        await ask_to_stop(broker, mission_id)
        if signalled:
            await broker.bus.publish(subjects.signals("default"), mission_id.encode())
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.CANCELLED, "user")
        await eventually(stopped.is_set)
        assert shape(await broker.records(mission_id)) == ["active", "active/cancelling", "cancelled/stopped"]


async def test_an_outcome_that_is_ready_stands_on_top_of_a_wish_to_cancel(nats_url: str) -> None:
    go = threading.Event()

    @goal("waits")
    def waits() -> str:
        go.wait(10)
        return "made it"

    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, waits):
        mission_id = await broker.propose(Goal(id="g1", kind="waits"))
        await ask_to_stop(broker, mission_id)
        go.set()
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.result) == (Status.COMPLETED, "made it")


async def test_an_owner_that_was_fenced_writes_nothing_more(nats_url: str) -> None:
    go, ended = threading.Event(), threading.Event()

    @goal("slow")
    def slow() -> None:
        go.wait(10)
        ended.set()

    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, slow):
        mission_id = await broker.propose(Goal(id="g1", kind="slow"))
        subject = subjects.status("default", mission_id)
        head = await eventually(lambda: broker.bus.head(topology.MISSIONS, subject))
        usurper = status_record(
            event_id=ids.record_id(mission_id, 2, 1),
            mission_id=mission_id,
            status=Status.ACTIVE,
            actor="other",
            attempt=2,
        )
        fence = await broker.missions.write(subject, codec.encode(usurper), expected=head.seq)
        go.set()
        await eventually(ended.is_set)
        await eventually(lambda: _free(broker))
        last = await broker.bus.head(topology.MISSIONS, subject)
        assert last is not None
        assert last.seq == fence
        assert await broker.unacknowledged("executor-default") == 1


async def _free(broker: Broker) -> bool:
    """The executor takes new work, so the fenced attempt is over."""
    return (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED


async def test_a_stopping_executor_hands_back_what_still_runs(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        async with executing(broker.settings):
            mission_id = await broker.propose(Goal(id="g1", kind="sleep", params={"seconds": 3}))
            await eventually(lambda: broker.records(mission_id))
        assert shape(await broker.records(mission_id)) == ["active", "active/released"]
        async with executing(broker.settings):
            outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.attempt) == (Status.COMPLETED, 2)


async def test_an_outcome_waits_for_the_broker_and_finds_the_record_that_was_in_doubt(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as broker, Proxy(nats_server.port) as proxy:
        bus = await Bus.connect(settings_for(proxy.url), "lossy")
        mission_id = ids.mission_id("test", "doubt")
        mission = Mission(mission_id=mission_id, goals=(), event_id="e", at=now())
        writer = Writer(bus, topology.MISSIONS, within_s=0.1)
        ledger = Ledger(bus, writer, mission, "executor/me", attempt=1, head=0)
        await ledger.claim()
        proxy.deaf = True
        with pytest.raises(MaybeStored):
            await ledger.mention("progress")
        settling = asyncio.ensure_future(ledger.settle(Outcome(Status.COMPLETED, "ok")))
        proxy.deaf = False
        proxy.cut()
        await settling
        assert shape(await broker.records(mission_id)) == ["active", "active/progress", "completed"]
        await bus.close()


async def test_more_results_than_the_client_may_buffer_wait_for_the_broker_too(nats_server: NatsServer) -> None:
    started, go = Counter[str](), asyncio.Event()

    @goal("hold")
    def hold(ctx: Context) -> str:
        started[ctx.mission_id] += 1
        eventually_sync(go.is_set, within_s=25)
        return "x" * 90_000

    async with connected(nats_server.url, lease_s=30) as broker, executing(broker.settings, hold) as stop:
        missions = [await broker.propose(Goal(id="g1", kind="hold")) for _ in range(40)]
        await eventually(lambda: len(started) == 40)
        nats_server.stop()
        go.set()
        await eventually(lambda: not broker.bus.connected)
        with pytest.raises(AssertionError):  # let the outcomes find no broker
            await eventually(stop.is_set, within_s=3)
        nats_server.start()
        outcomes = [await broker.outcome(mission_id, within_s=20) for mission_id in missions]
        assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
        assert set(started.values()) == {1}
