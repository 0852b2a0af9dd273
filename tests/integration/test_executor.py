"""What the executor makes of missions, on a real broker."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from contracts import codec, ids, subjects, topology
from contracts.errors import BrokerUnreachable, MaybeStored
from contracts.lifecycle import Status, may_follow
from contracts.messages import Goal, GoalStatus, Mission, RetryPolicy, StatusRecord, now, status_record
from missions.nats_server import NatsServer
from services.executor import run_executor_with_timeout, start_executor_background
from services.executor.context import Context, Reject
from services.executor.ledger import Ledger
from services.executor.registry import goal
from services.executor.runner import Outcome
from services.runtime.bus import Bus
from services.runtime.writer import Writer
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.proxy import Proxy

QUICK = RetryPolicy(max_attempts=3, backoff_s=0.01)


def assert_legal(records: list[StatusRecord]) -> None:
    current: Status = Status.PROPOSED
    for record in records:
        assert may_follow(current, record.status), f"{record.status} after {current}"
        current = record.status
    assert all(record.reason for record in records if record.status != Status.ACTIVE)


async def run(broker: Broker, *goals: Goal, **fields: Any) -> list[StatusRecord]:
    mission_id = await broker.propose(*goals, **fields)
    await broker.outcome(mission_id)
    records = await broker.records(mission_id)
    assert_legal(records)
    return records


def shape(records: list[StatusRecord]) -> list[str]:
    return [f"{record.status}{'/' + record.phase if record.phase else ''}" for record in records]


async def test_one_goal_that_succeeds_makes_active_and_completed(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="echo", params={"text": "hi"}))
        assert shape(records) == ["active", "completed"]
        assert records[-1].result == "hi"
        assert records[-1].attempt == 1
        await eventually(lambda: _idle(broker))


async def _idle(broker: Broker) -> bool:
    return await broker.unacknowledged("executor-default") == 0


@pytest.mark.parametrize(
    ("bad", "reason", "word"),
    [
        (Goal(id="g1", kind="ecko"), "unknown_kind", "did you mean 'echo'"),
        (Goal(id="g1", kind="echo", params={"txt": "x"}), "bad_params", "text"),
        (Goal(id="g1", kind="echo", needs=("g1",)), "bad_plan", "g1"),
    ],
)
async def test_what_cannot_run_is_rejected_before_anything_runs(
    nats_url: str, bad: Goal, reason: str, word: str
) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, bad)
        assert shape(records) == ["rejected"]
        assert records[0].reason == reason
        assert records[0].error is not None
        assert word in records[0].error.message


async def test_a_goal_is_retried_and_its_tries_are_written_down(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="fail", params={"times": 2}, retry=QUICK))
        assert shape(records) == ["active", "active/backing_off", "active/backing_off", "completed"]
        assert records[-1].result == 3


async def test_retries_that_are_exhausted_fail_the_mission_with_the_last_error(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="fail", params={"message": "boom"}, retry=QUICK))
        assert records[-1].status == Status.FAILED
        assert records[-1].reason == "retries_exhausted"
        assert records[-1].error is not None
        assert records[-1].error.message == "boom"
        assert records[-1].goal is not None
        assert records[-1].goal.attempt == 3


async def test_independent_goals_run_side_by_side_and_needs_are_respected(nats_url: str) -> None:
    together = threading.Barrier(2, timeout=10)
    order: list[str] = []

    @goal("meet")
    def meet(name: str) -> str:
        together.wait()
        order.append(name)
        return name

    @goal("last")
    def last() -> list[str]:
        return sorted(order)

    async with connected(nats_url) as broker, executing(broker.settings, meet, last):
        records = await run(
            broker,
            Goal(id="a", kind="meet", params={"name": "a"}),
            Goal(id="b", kind="meet", params={"name": "b"}),
            Goal(id="c", kind="last", needs=("a", "b")),
        )
        assert shape(records) == ["active", *["active/goal_done"] * 3, "completed"]
        assert records[-1].result == ["a", "b"]


async def test_an_optional_goal_may_fail(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(
            broker, Goal(id="a", kind="fail", optional=True), Goal(id="b", kind="echo", params={"text": "b"})
        )
        assert records[-1].status == Status.COMPLETED
        assert records[-1].result == "b"
        assert [record.goal.status for record in records if record.goal and record.goal.id == "a"] == ["skipped"]


async def test_a_try_that_takes_too_long_is_a_timeout_and_not_a_cancel(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="sleep", params={"seconds": 60}, timeout_s=0.05))
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "handler_timeout")


async def test_a_mission_ends_at_its_deadline(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        soon = now() + timedelta(seconds=0.4)
        records = await run(broker, Goal(id="g1", kind="sleep", params={"seconds": 60}), deadline=soon)
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "deadline_exceeded")
        past = await run(broker, Goal(id="g1", kind="echo"), deadline=now() - timedelta(seconds=1))
        assert shape(past) == ["failed"]


class Report(BaseModel):
    name: str
    pages: int


class Strange:
    pass


@goal("report")
async def report(ctx: Context) -> Report:
    return Report(name=ctx.idempotency_key[-2:], pages=ctx.attempt)


@goal("strange")
def strange() -> Strange:
    return Strange()


@goal("huge")
def huge() -> str:
    return "x" * 1_000_000


@goal("deep")
def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(40):
        nested = [nested]
    return nested


@goal("exits")
async def exits() -> None:
    raise SystemExit(3)


@goal("exits.sync")
def exits_sync() -> None:
    raise KeyboardInterrupt


@goal("refuses", retries=5)
def refuses() -> None:
    raise Reject("never")


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("report", "completed", "ok"),
        ("strange", "failed", "handler_rejected"),
        ("huge", "failed", "result_too_large"),
        ("deep", "failed", "result_too_large"),
        ("exits", "failed", "handler_error"),
        ("exits.sync", "failed", "handler_error"),
        ("refuses", "failed", "handler_rejected"),
    ],
)
async def test_whatever_a_handler_does_the_mission_ends_and_the_executor_goes_on(
    nats_url: str, kind: str, status: str, reason: str
) -> None:
    async with (
        connected(nats_url) as broker,
        executing(broker.settings, report, strange, huge, deep, exits, exits_sync, refuses),
    ):
        records = await run(broker, Goal(id="g1", kind=kind))
        assert (records[-1].status, records[-1].reason) == (status, reason)
        if kind == "report":
            assert records[-1].result == {"name": "g1", "pages": 1}
        assert (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED


async def test_progress_is_written_while_the_goal_runs(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="sleep", params={"seconds": 1.6}))
        said = [record.goal.progress for record in records if record.phase == "progress" and record.goal]
        assert said
        assert said[0] is not None
        assert said[0].total == 1.6


async def test_a_handler_that_blocks_its_loop_does_not_lose_the_lease(nats_url: str) -> None:
    tries: list[int] = []

    @goal("blocks")
    async def blocks(ctx: Context) -> int:
        tries.append(ctx.attempt)
        time.sleep(2.5)  # noqa: ASYNC251 - that is the bug this is about
        return len(tries)

    async with connected(nats_url, lease_s=1.0) as broker, executing(broker.settings, blocks):
        records = await run(broker, Goal(id="g1", kind="blocks"))
        assert shape(records) == ["active", "completed"]
        assert tries == [1]


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


async def cancelling(broker: Broker, mission_id: str, reason: str = "user") -> None:
    """Ask for a cancel as the orchestrator does."""
    subject = subjects.status("default", mission_id)
    head = await eventually(lambda: broker.bus.head(topology.MISSIONS, subject))
    record = status_record(
        event_id=f"{mission_id}.cancel",
        mission_id=mission_id,
        status=Status.ACTIVE,
        actor="orchestrator",
        attempt=1,
        phase="cancelling",
        reason=reason,
    )
    await broker.missions.write(subject, codec.encode(record), expected=head.seq)


@pytest.mark.parametrize("signalled", [True, False])
async def test_a_wish_to_cancel_reaches_the_owner_with_and_without_its_signal(nats_url: str, signalled: bool) -> None:
    stopped = threading.Event()

    @goal("watchful")
    def watchful(ctx: Context) -> None:
        eventually_sync(lambda: ctx.cancelled, within_s=20)
        stopped.set()

    async with connected(nats_url, lease_s=1.5) as broker, executing(broker.settings, watchful):
        mission_id = await broker.propose(Goal(id="g1", kind="watchful"))
        await cancelling(broker, mission_id)
        if signalled:
            await broker.bus.publish(subjects.signals("default"), mission_id.encode())
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.CANCELLED, "user")
        await eventually(stopped.is_set)
        assert shape(await broker.records(mission_id)) == ["active", "active/cancelling", "cancelled"]


async def test_an_outcome_that_is_ready_stands_on_top_of_a_wish_to_cancel(nats_url: str) -> None:
    go = threading.Event()

    @goal("waits")
    def waits() -> str:
        go.wait(10)
        return "made it"

    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, waits):
        mission_id = await broker.propose(Goal(id="g1", kind="waits"))
        await cancelling(broker, mission_id)
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


async def test_an_unreadable_work_item_goes_to_the_dead_letters(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        await broker.missions.write(subjects.proposed("default", "m1"), b'{"mission_id": 3}', expected=0)
        dead = await eventually(lambda: broker.bus.head(topology.DEADLETTERS, subjects.deadletters("executor")))
        assert dead.data == b'{"mission_id": 3}'
        await eventually(lambda: _idle(broker))


async def test_kinds_are_announced(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        stored = await eventually(lambda: broker.bus.head(topology.KINDS, subjects.kind("default", "echo")))
        assert codec.decode_kind(stored.data).description == "Give back the text."


async def test_every_mission_of_a_burst_ends_once(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        goals = (Goal(id="g1", kind="echo", params={"text": "x"}),)
        await asyncio.gather(*(broker.propose(*goals) for _ in range(1_000)))
        await eventually(lambda: _idle(broker), within_s=25)
        assert (await broker.bus.stream_state(topology.MISSIONS)).messages == 3_000


async def test_an_executor_runs_for_a_while_and_stops_by_itself(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        mission_id = await broker.propose(Goal(id="g1", kind="report"))
        await run_executor_with_timeout(1.0, goals=[report], settings=broker.settings)
        assert (await broker.outcome(mission_id, 0.1)).status == Status.COMPLETED


async def test_an_executor_runs_in_the_background_of_another_program(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        background = await asyncio.to_thread(start_executor_background, goals=[report], settings=broker.settings)
        assert (await run(broker, Goal(id="g1", kind="report")))[-1].status == Status.COMPLETED
        await asyncio.to_thread(background.stop)


def test_a_background_executor_without_a_broker_says_so() -> None:
    with pytest.raises(BrokerUnreachable, match="missions up"):
        start_executor_background(settings=settings_for("nats://127.0.0.1:9", connect_s=0.3))


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
            await ledger.note("progress")
        settling = asyncio.ensure_future(ledger.settle(Outcome(Status.COMPLETED, "ok")))
        proxy.deaf = False
        proxy.cut()
        await settling
        assert shape(await broker.records(mission_id)) == ["active", "active/progress", "completed"]
        await bus.close()
