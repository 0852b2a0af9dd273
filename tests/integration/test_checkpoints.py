"""Checkpoints: what a handler saved is there for its next try, whoever runs it."""

from __future__ import annotations

import asyncio
import threading

from contracts.lifecycle import Status
from contracts.messages import Goal, RetryPolicy
from missions.nats_server import NatsServer
from services.executor.context import Context
from services.executor.registry import goal
from services.executor.reports.saves import NotSaved
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.outcomes import run, shape

AGAIN = RetryPolicy(max_attempts=3, backoff_s=0)


async def test_the_next_try_goes_on_from_the_last_checkpoint(nats_url: str) -> None:
    @goal("steps")
    def steps(ctx: Context) -> list[object]:
        before = ctx.checkpoint()
        if before is None:
            ctx.checkpoint({"page": 1})
            ctx.checkpoint({"page": 2, "seen": [1, 2]})
            raise RuntimeError("the line broke")
        return [before["page"], before["seen"][-1], ctx.attempt]

    async with connected(nats_url) as broker, executing(broker.settings, steps):
        records = await run(broker, Goal(id="g1", kind="steps", retry=AGAIN))
        assert records[-1].result == [2, 2, 2]
        assert shape(records) == [
            "active", "active/checkpoint", "active/checkpoint", "active/backing_off", "completed",
        ]  # fmt: skip


async def test_a_thread_that_has_saved_knows_that_the_broker_has_it(nats_url: str) -> None:
    saved, go = threading.Event(), threading.Event()

    @goal("saver")
    def saver(ctx: Context) -> None:
        ctx.checkpoint("here")
        saved.set()
        go.wait(10)

    async with connected(nats_url) as broker, executing(broker.settings, saver):
        mission_id = await broker.propose(Goal(id="g1", kind="saver"))
        await eventually(saved.is_set)
        last = (await broker.records(mission_id))[-1]
        assert last.goal is not None
        assert (last.phase, last.goal.checkpoint) == ("checkpoint", "here")
        go.set()
        await broker.outcome(mission_id)


async def test_an_async_handler_may_wait_for_its_checkpoint_or_not(nats_url: str) -> None:
    @goal("saver")
    async def saver(ctx: Context) -> object:
        if found := ctx.checkpoint():
            return found + 1
        await ctx.checkpoint(["awaited"])
        for number in range(100):
            ctx.checkpoint(number)
        raise RuntimeError("before anything awaited them")

    async with connected(nats_url) as broker, executing(broker.settings, saver):
        records = await run(broker, Goal(id="g1", kind="saver", retry=AGAIN))
        assert records[-1].result == 100
        phases = [record.phase for record in records]
        assert phases[:2] == ["", "checkpoint"]
        assert phases[-2:] == ["backing_off", ""]
        assert 2 <= phases.count("checkpoint") < 20  # those that waited together were one


async def test_a_checkpoint_survives_the_owner_and_the_question(nats_url: str) -> None:
    @goal("long")
    def long(ctx: Context) -> object:
        if ctx.checkpoint() is None:
            ctx.checkpoint({"done": 7})
            eventually_sync(lambda: ctx.cancelled, within_s=10)
        return ctx.checkpoint()

    async with connected(nats_url) as broker:
        async with executing(broker.settings, long):
            mission_id = await broker.propose(Goal(id="g1", kind="long"))
            await eventually(lambda: _saved(broker, mission_id))
        async with executing(broker.settings, long):
            outcome = await broker.outcome(mission_id)
        assert (outcome.result, outcome.attempt) == ({"done": 7}, 2)


async def _saved(broker: Broker, mission_id: str) -> bool:
    records = await broker.records(mission_id)
    return bool(records) and records[-1].phase == "checkpoint"


async def test_what_is_no_checkpoint_fails_the_goal_with_a_word(nats_url: str) -> None:
    @goal("bad")
    def bad(ctx: Context, large: bool) -> None:
        ctx.checkpoint("x" * 70_000 if large else object())

    async with connected(nats_url) as broker, executing(broker.settings, bad):
        large = (await run(broker, Goal(id="g1", kind="bad", params={"large": True})))[-1]
        odd = (await run(broker, Goal(id="g1", kind="bad", params={"large": False})))[-1]
        assert large.error is not None
        assert "70002 bytes, 65536 are allowed" in large.error.message
        assert odd.error is not None
        assert odd.error.type == "ValueError"


async def test_a_thread_whose_try_is_over_is_told_at_its_next_checkpoint(nats_url: str) -> None:
    go, told = threading.Event(), threading.Event()

    @goal("late")
    def late(ctx: Context) -> None:
        go.wait(10)
        try:
            ctx.checkpoint(1)
        except NotSaved:
            told.set()

    async with connected(nats_url) as broker, executing(broker.settings, late):
        records = await run(broker, Goal(id="g1", kind="late", timeout_s=0.05))
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "handler_timeout")
        go.set()
        await eventually(told.is_set)


async def test_a_checkpoint_waits_for_a_broker_that_is_away(nats_server: NatsServer) -> None:
    go, saved = asyncio.Event(), threading.Event()

    @goal("patient")
    def patient(ctx: Context) -> str:
        eventually_sync(go.is_set)
        ctx.checkpoint("after all")
        saved.set()
        return "done"

    async with connected(nats_server.url, lease_s=30) as broker, executing(broker.settings, patient):
        mission_id = await broker.propose(Goal(id="g1", kind="patient"))
        await eventually(lambda: broker.records(mission_id))
        nats_server.stop()
        go.set()
        await eventually(lambda: not broker.bus.connected)
        assert not saved.is_set()
        nats_server.start()
        outcome = await broker.outcome(mission_id, within_s=20)
        assert outcome.result == "done"
        assert "active/checkpoint" in shape(await broker.records(mission_id))
