"""How a mission ends whose handler was asked to stop: `stopped`, `detached` or `too_late`; a cancel is no timeout."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Goal, RetryPolicy, now, status_record
from services.executor.context import Context
from services.executor.executor import Executor
from services.executor.registry import goal
from services.executor.watchdog import PART, Watchdog
from services.runtime.health import Health
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from tests.support import hostile
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.outcomes import ask_to_stop, idle, run, shape
from tests.support.placed import Trial, is_alive, registry_of

started, go = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def events() -> Iterator[None]:
    started.clear()
    go.clear()
    yield
    go.set()


@goal("watchful")
def watchful(ctx: Context) -> str:
    started.set()
    eventually_sync(lambda: ctx.cancelled, within_s=20)
    return "stopped by itself"


@goal("deaf")
def deaf() -> str:
    started.set()
    go.wait(20)
    return "done all the same"


@goal("deaf.async", cancel_grace=0.1)
async def deaf_async() -> str:
    started.set()
    while not go.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue
    return "done all the same"


@goal("obedient")
async def obedient() -> None:
    started.set()
    await asyncio.sleep(600)


STOPPING = (watchful, deaf, deaf_async, obedient, hostile.watchful, hostile.stubborn, hostile.cancelled)


async def signal(broker: Broker, mission_id: str) -> None:
    await broker.bus.publish(subjects.signals("default"), mission_id.encode())


@pytest.mark.parametrize(
    ("kind", "phase"),
    [("watchful", "stopped"), ("obedient", "stopped"), ("deaf", "detached"), ("deaf.async", "detached")],
)
async def test_the_outcome_of_a_cancel_says_whether_the_handler_is_over(nats_url: str, kind: str, phase: str) -> None:
    options = {"lease_s": 30, "cancel_grace_s": 0.1 if phase == "detached" else 10}
    async with connected(nats_url, **options) as broker, executing(broker.settings, *STOPPING):
        mission_id = await broker.propose(Goal(id="g1", kind=kind))
        await eventually(started.is_set)
        await ask_to_stop(broker, mission_id)
        await signal(broker, mission_id)
        await broker.outcome(mission_id)
        assert shape(await broker.records(mission_id)) == ["active", "active/cancelling", f"cancelled/{phase}"]


@pytest.mark.parametrize(
    ("kind", "left"), [("p.watchful", "stopped"), ("p.cancelled", "cancelled"), ("p.stubborn", None)]
)
async def test_a_cancel_stops_a_process_and_kills_one_that_does_not_listen(
    nats_url: str, tmp_path: Path, kind: str, left: str | None
) -> None:
    file = tmp_path / "trace"
    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, *STOPPING):
        mission_id = await broker.propose(Goal(id="g1", kind=kind, params={"file": str(file)}))
        pid = int(await eventually(lambda: file.exists() and file.read_text()))
        await ask_to_stop(broker, mission_id)
        await signal(broker, mission_id)
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.phase) == (Status.CANCELLED, "stopped")
        assert not is_alive(pid)
        assert file.read_text() == (left or str(pid))


async def test_a_mission_that_was_over_before_the_wish_was_heard_is_too_late(nats_url: str) -> None:
    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, *STOPPING):
        mission_id = await broker.propose(Goal(id="g1", kind="deaf"))
        await eventually(started.is_set)
        await ask_to_stop(broker, mission_id)
        go.set()
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason, outcome.phase) == (Status.COMPLETED, "ok", "too_late")
        assert outcome.result == "done all the same"


async def test_a_timeout_is_no_cancel_and_says_whether_the_handler_is_over(nats_url: str) -> None:
    async with connected(nats_url, cancel_grace_s=0.1) as broker, executing(broker.settings, *STOPPING):
        for kind, phase in {"obedient": "stopped", "deaf": "detached"}.items():
            outcome = (await run(broker, Goal(id="g1", kind=kind, timeout_s=0.05)))[-1]
            assert (outcome.status, outcome.reason, outcome.phase) == (Status.FAILED, "handler_timeout", phase)


async def test_a_cancel_during_the_grace_of_a_timeout_is_a_cancel(nats_url: str) -> None:
    async with connected(nats_url, lease_s=30, cancel_grace_s=20) as broker, executing(broker.settings, *STOPPING):
        again = RetryPolicy(max_attempts=3, backoff_s=60)
        mission_id = await broker.propose(Goal(id="g1", kind="deaf", timeout_s=0.05, retry=again))
        await eventually(started.is_set)
        with pytest.raises(AssertionError):  # the timeout passes, and the handler does not stop
            await eventually(lambda: False, within_s=0.3)
        await ask_to_stop(broker, mission_id)
        await signal(broker, mission_id)
        go.set()
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason, outcome.phase) == (Status.CANCELLED, "user", "stopped")


async def test_a_deadline_is_a_failure_that_says_whether_the_handler_is_over(nats_url: str) -> None:
    async with connected(nats_url, cancel_grace_s=0.1) as broker, executing(broker.settings, *STOPPING):
        for kind, phase in {"obedient": "stopped", "deaf": "detached"}.items():
            soon = now() + timedelta(seconds=0.3)
            outcome = (await run(broker, Goal(id="g1", kind=kind), deadline=soon))[-1]
            assert (outcome.status, outcome.reason, outcome.phase) == (Status.FAILED, "deadline_exceeded", phase)


async def test_the_lease_is_kept_while_a_handler_has_its_grace(nats_url: str) -> None:
    async with connected(nats_url, lease_s=1.0, cancel_grace_s=20) as broker, executing(broker.settings, *STOPPING):
        mission_id = await broker.propose(Goal(id="g1", kind="deaf"))
        await eventually(started.is_set)
        await ask_to_stop(broker, mission_id)
        with pytest.raises(AssertionError):  # three leases
            await eventually(lambda: redelivered(broker), within_s=3)
        go.set()
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.attempt, outcome.phase) == (Status.CANCELLED, 1, "stopped")
        await eventually(lambda: idle(broker))


async def redelivered(broker: Broker) -> bool:
    info = await broker.bus.api(f"CONSUMER.INFO.{topology.MISSIONS}.executor-default")
    return bool(info["num_redelivered"])


async def test_a_process_whose_mission_has_another_owner_is_killed_at_once(nats_url: str, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    options = {"lease_s": 30, "cancel_grace_s": 600}
    async with connected(nats_url, **options) as broker, executing(broker.settings, hostile.stubborn_for_ever):
        mission_id = await broker.propose(Goal(id="g1", kind="p.stubborn.for.ever", params={"file": str(file)}))
        pid = int(await eventually(lambda: file.exists() and file.read_text()))
        subject = subjects.status("default", mission_id)
        head = await eventually(lambda: broker.bus.head(topology.MISSIONS, subject))
        other = status_record(
            event_id=ids.record_id(mission_id, 2, 1),
            mission_id=mission_id,
            status=Status.ACTIVE,
            actor="other",
            attempt=2,
        )
        fence = await broker.missions.write(subject, codec.encode(other), expected=head.seq)
        await signal(broker, mission_id)
        await eventually(lambda: not is_alive(pid))
        assert (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED
        last = await broker.bus.head(topology.MISSIONS, subject)
        assert last is not None
        assert last.seq == fence


async def test_a_kind_whose_handlers_never_stop_is_refused_and_the_executor_is_unready(nats_url: str) -> None:
    options = {"cancel_grace_s": 0.05, "max_detached": 2}
    async with connected(nats_url, **options) as broker, executing(broker.settings, *STOPPING):
        for _ in range(2):
            assert (await run(broker, Goal(id="g1", kind="deaf", timeout_s=0.05)))[-1].phase == "detached"
        outcome = (await run(broker, Goal(id="g1", kind="deaf")))[-1]
        assert (outcome.status, outcome.reason) == (Status.FAILED, "handlers_stuck")
        assert outcome.error is not None
        assert "2 earlier tries of deaf" in outcome.error.message
        assert (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED
        go.set()
        await eventually(lambda: completes(broker, "deaf"))


async def completes(broker: Broker, kind: str) -> bool:
    return (await run(broker, Goal(id="g1", kind=kind)))[-1].status == Status.COMPLETED


@goal("blocks")
async def blocks() -> None:
    started.set()
    blocked = time.monotonic() + 20
    while not go.is_set() and time.monotonic() < blocked:
        time.sleep(0.01)  # noqa: ASYNC251 - that is the bug this is about


async def test_the_watchdog_names_who_blocks_the_loop_once_and_who_never_stops(nats_url: str) -> None:
    async with connected(nats_url, max_detached=1) as broker:
        registry, metrics, health, stop = registry_of(blocks, deaf), Metrics("test"), Health(), Stop()
        executor = Executor(broker.bus, registry, broker.settings, metrics, 30)
        watching = asyncio.ensure_future(Watchdog(executor, health, metrics).run(stop))
        with capture_logs() as logs:
            trial = Trial(executor.places["loop"], registry, "blocks", {}, grace_s=1)
            told = await eventually(lambda: [log for log in logs if log["event"] == "handlers_loop_blocked"])
            assert told[0]["kind"] == "blocks"
            assert "in blocks" in told[0]["exception"]
            go.set()
            await trial.task
            await eventually(lambda: [log for log in logs if log["event"] == "handlers_loop_free_again"])
        assert len([log for log in logs if log["event"] == "handlers_loop_blocked"]) == 1
        assert 'missions_handlers_blocked_total{kind="blocks"} 1.0' in metrics.render().decode()

        go.clear()
        trial = Trial(executor.places["thread"], registry, "deaf", {}, grace_s=0.01)
        started.clear()
        await eventually(started.is_set)
        assert (await trial.cancelled()).detached
        assert "deaf (1)" in await eventually(lambda: health.reasons().get(PART))
        go.set()
        await eventually(lambda: not health.reasons())
        stop.set()
        await watching
        executor.close()


@pytest.mark.parametrize(
    ("kind", "params"),
    [("holds.the.gil", {"seconds": 1.5}), ("holds.the.gil.whole", {"milliseconds": 1_500})],
)
async def test_a_handler_that_holds_the_gil_for_half_a_lease_does_not_lose_it(
    nats_url: str, kind: str, params: dict[str, float]
) -> None:
    goals = (hostile.holds_the_gil, hostile.holds_the_gil_whole)
    async with connected(nats_url, lease_s=3.0) as broker, executing(broker.settings, *goals):
        with capture_logs() as logs:
            records = await run(broker, *(Goal(id=f"g{n}", kind=kind, params=params, needs=needs(n)) for n in range(3)))
        assert (records[-1].status, records[-1].attempt) == (Status.COMPLETED, 1)
        assert not await redelivered(broker)
        if kind == "holds.the.gil.whole":
            assert [log for log in logs if log["event"] == "executor_stalled"]


def needs(number: int) -> tuple[str, ...]:
    return (f"g{number - 1}",) if number else ()
