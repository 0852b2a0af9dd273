"""What the executor makes of missions, on a real broker."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, model_serializer

from contracts import codec, subjects, topology
from contracts.errors import BrokerUnreachable
from contracts.lifecycle import Status
from contracts.messages import Goal, RetryPolicy, now
from services.executor import run_executor_with_timeout, start_executor_background
from services.executor.context import Context, Reject
from services.executor.registry import goal
from tests.support.broker import connected, settings_for
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.outcomes import idle, run, shape

QUICK = RetryPolicy(max_attempts=3, backoff_s=0.01)


async def test_one_goal_that_succeeds_makes_active_and_completed(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="echo", params={"text": "hi"}))
        assert shape(records) == ["active", "completed"]
        assert records[-1].result == "hi"
        assert records[-1].attempt == 1
        await eventually(lambda: idle(broker))


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


async def test_params_that_no_message_can_repeat_are_rejected_all_the_same(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, picky):
        for goal_ in (
            Goal(id="g", kind="echo", params={"\x85" * 110_000: 1}),
            Goal(id="g", kind="picky", params={"answer": "b"}),
        ):
            records = await run(broker, goal_)
            assert (shape(records), records[0].reason) == (["rejected"], "bad_params")


async def test_a_goal_is_retried_and_its_tries_are_written_down(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, Goal(id="g1", kind="fail", params={"times": 2}, retry=QUICK))
        assert shape(records) == ["active", "active/backing_off", "active/backing_off", "completed"]
        assert records[-1].result == 3
        for failed, following in itertools.pairwise(records[1:]):
            assert failed.goal is not None
            assert failed.goal.retry_at is not None
            assert failed.at < failed.goal.retry_at <= following.at


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


async def test_waiting_for_a_thread_is_not_counted_as_the_time_of_a_handler(nats_url: str) -> None:
    first_runs, go = threading.Event(), threading.Event()

    @goal("first")
    def first() -> None:
        first_runs.set()
        go.wait(10)

    @goal("second")
    def second() -> str:
        return "in time"

    async with connected(nats_url, concurrency=1) as broker, executing(broker.settings, first, second):
        mission_id = await broker.propose(
            Goal(id="a", kind="first"), Goal(id="b", kind="second", timeout_s=0.5), Goal(id="c", kind="echo")
        )
        await eventually(first_runs.is_set)
        with pytest.raises(AssertionError):  # longer than the second goal may take
            await eventually(lambda: False, within_s=0.8)
        go.set()
        assert (await broker.outcome(mission_id)).status == Status.COMPLETED


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
    return "x" * 20_000_000


@goal("deep")
def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(40):
        nested = [nested]
    return nested


@goal("surrogate.error")
def surrogate_error() -> None:
    raise ValueError("half a pair: \ud800")


@goal("surrogate.result")
def surrogate_result() -> str:
    return "half a pair: \ud800"


@goal("not.a.number")
def not_a_number(ctx: Context) -> None:
    ctx.progress(float("nan"))


@goal("large")
def large() -> str:
    return "x" * 60_000


@goal("exits")
async def exits() -> None:
    raise SystemExit(3)


@goal("exits.sync")
def exits_sync() -> None:
    raise KeyboardInterrupt


@goal("refuses", retries=5)
def refuses() -> None:
    raise Reject("never")


@goal("stop.iteration")
def stop_iteration() -> Any:
    return next(iter([]))


@goal("speechless")
def speechless() -> None:
    class Speechless(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Speechless


@goal("raw")
def raw() -> msgspec.Raw:
    return msgspec.Raw(b"not json")


class Unwilling(BaseModel):
    @model_serializer
    def unwilling(self) -> dict[str, int]:
        raise KeyError("a")


@goal("unwilling")
def unwilling() -> Unwilling:
    return Unwilling()


@goal("long.name")
def long_name() -> None:
    raise type("E" * 300_000, (Exception,), {})("x")


def hard_to_please(value: str) -> str:
    return {"yes": value}[value]


@goal("picky")
def picky(answer: Annotated[str, AfterValidator(hard_to_please)] = "yes") -> str:
    return answer


STRANGE = (
    stop_iteration,
    speechless,
    raw,
    unwilling,
    long_name,
    picky,
    report,
    strange,
    huge,
    deep,
    surrogate_error,
    surrogate_result,
    not_a_number,
    exits,
    exits_sync,
    refuses,
)


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("report", "completed", "ok"),
        ("strange", "failed", "bad_result"),
        ("huge", "failed", "result_too_large"),
        ("deep", "failed", "result_too_large"),
        ("stop.iteration", "failed", "handler_error"),
        ("speechless", "failed", "handler_error"),
        ("raw", "failed", "bad_result"),
        ("unwilling", "failed", "bad_result"),
        ("long.name", "failed", "handler_error"),
        ("surrogate.error", "failed", "handler_error"),
        ("surrogate.result", "failed", "bad_result"),
        ("not.a.number", "failed", "handler_error"),
        ("exits", "failed", "handler_exit"),
        ("exits.sync", "failed", "handler_exit"),
        ("refuses", "failed", "handler_rejected"),
    ],
)
async def test_whatever_a_handler_does_the_mission_ends_and_the_executor_goes_on(
    nats_url: str, kind: str, status: str, reason: str
) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, *STRANGE):
        records = await run(broker, Goal(id="g1", kind=kind))
        assert (records[-1].status, records[-1].reason) == (status, reason)
        if kind == "report":
            assert records[-1].result == {"name": "g1", "pages": 1}
        assert (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED


@goal("leaves.exit.behind")
async def leaves_exit_behind() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    await asyncio.gather(leave(), return_exceptions=True)


async def test_a_task_that_a_handler_left_behind_cannot_end_the_loop_of_the_others(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, leaves_exit_behind):
        bystander = await broker.propose(Goal(id="g1", kind="sleep", params={"seconds": 1}))
        await eventually(lambda: broker.records(bystander))
        await broker.propose(Goal(id="g1", kind="leaves.exit.behind"))
        assert (await run(broker, Goal(id="g1", kind="echo")))[-1].status == Status.COMPLETED
        assert (await broker.outcome(bystander)).status == Status.COMPLETED


async def test_results_that_are_too_large_together_stay_with_their_goals(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, large):
        records = await run(broker, *(Goal(id=f"g{n}", kind="large") for n in range(5)))
        assert (records[-1].status, records[-1].result) == (Status.COMPLETED, None)
        assert all(record.goal.result == "x" * 60_000 for record in records if record.goal)


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


async def test_an_unreadable_work_item_goes_to_the_dead_letters(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        await broker.missions.write(subjects.proposed("default", "m1"), b'{"mission_id": 3}', expected=0)
        dead = await eventually(lambda: broker.bus.head(topology.DEADLETTERS, subjects.deadletters("executor")))
        assert dead.data == b'{"mission_id": 3}'
        await eventually(lambda: idle(broker))


async def test_kinds_are_announced(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        stored = await eventually(lambda: broker.bus.head(topology.KINDS, subjects.kind("default", "echo")))
        assert codec.decode_kind(stored.data).description == "Give back the text."


async def test_every_mission_of_a_burst_ends_once(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        goals = (Goal(id="g1", kind="echo", params={"text": "x"}),)
        await asyncio.gather(*(broker.propose(*goals) for _ in range(1_000)))
        await eventually(lambda: idle(broker), within_s=25)
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
