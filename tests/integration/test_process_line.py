"""A handler in a process of its own asks, saves, keeps and logs as any other does."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from contracts import codec
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, Command, Goal, RetryPolicy
from services.executor import attempt
from services.executor.context import Context
from services.executor.executor import Executor
from services.executor.registry import goal
from services.runtime.metrics import Metrics
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.orchestrating import orchestrator
from tests.support.outcomes import run, shape
from tests.support.placed import registry_of
from tests.support.work_items import work_item

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation='process' needs Linux")

AGAIN = RetryPolicy(max_attempts=3, backoff_s=0)


@goal("p.steps", isolation="process")
def steps(ctx: Context) -> list[object]:
    before = ctx.checkpoint()
    if before is None:
        ctx.checkpoint({"page": 1})
        ctx.checkpoint({"page": 2, "pid": os.getpid()})
        os._exit(3)
    return [before["page"], before["pid"] != os.getpid(), ctx.attempt]


@goal("p.steps.async", isolation="process")
async def steps_async(ctx: Context) -> object:
    before = ctx.checkpoint()
    if before is None:
        ctx.checkpoint(1)
        await ctx.checkpoint(2)
        raise RuntimeError("the line broke")
    return before


@goal("p.keep", isolation="process")
def keep(ctx: Context) -> str:
    ctx.log.info("made", size=3)
    return ctx.artifact("made.bin", b"abc" * 100_000).sha256


@goal("p.ask", isolation="process")
def ask(ctx: Context) -> int:
    loaves: int = ctx.ask("How many?", int)
    return loaves


@goal("p.ask.async", isolation="process")
async def ask_async(ctx: Context) -> bool:
    sure: bool = ctx.ask("Sure?", bool)
    return sure


@pytest.mark.parametrize(("kind", "result"), [("p.steps", [2, True, 2]), ("p.steps.async", 2)])
async def test_a_checkpoint_outlives_its_process(nats_url: str, kind: str, result: Any) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, steps, steps_async):
        records = await run(broker, Goal(id="g1", kind=kind, retry=AGAIN))
        assert (records[-1].status, records[-1].result) == (Status.COMPLETED, result)
        assert "active/checkpoint" in shape(records)


async def test_what_a_process_keeps_and_logs_stands_in_its_record(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        last = (await run(broker, Goal(id="g1", kind="p.keep")))[-1]
        assert last.goal is not None
        [artifact] = last.goal.artifacts
        digest = hashlib.sha256(b"abc" * 100_000).hexdigest()
        assert (last.result, artifact.sha256, artifact.size_bytes) == (digest, digest, 300_000)
        assert [line.text for line in last.goal.log] == ["made size=3"]


@pytest.mark.parametrize(("kind", "said", "result"), [("p.ask", "3", 3), ("p.ask.async", True, True)])
async def test_a_process_asks_and_another_is_answered(nats_url: str, kind: str, said: Any, result: Any) -> None:
    async with (
        connected(nats_url) as broker,
        orchestrator(broker.settings),
        executing(broker.settings, ask, ask_async),
    ):
        mission_id = await broker.propose(Goal(id="g1", kind=kind))
        await eventually(lambda: waits(broker, mission_id))
        command = Command(kind="answer", mission_id=mission_id, answer=said)
        await broker.bus.publish_acked("chat.events.ops", codec.encode(ChatEvent(sender="ann", command=command)))
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.result, outcome.attempt) == (Status.COMPLETED, result, 2)


async def waits(broker: Broker, mission_id: str) -> bool:
    return any(record.status is Status.WAITING for record in await broker.records(mission_id))


@goal("p.dies.copying", isolation="process")
def dies_copying(ctx: Context, file: str, spool: str) -> None:
    def end() -> None:
        eventually_sync(lambda: any(path.stat().st_size for path in Path(spool).iterdir()), within_s=20)
        os._exit(3)

    threading.Thread(target=end, daemon=True).start()
    while True:
        ctx.artifact("large.bin", Path(file))


async def test_a_process_that_dies_while_it_copies_an_artifact_leaves_no_file_behind(
    nats_url: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as writing:
        writing.truncate(50_000_000)
    async with connected(nats_url) as broker:
        executor = Executor(
            broker.bus, registry_of(dies_copying), broker.settings, Metrics("executor"), broker.settings.lease_s
        )
        try:
            params = {"file": str(large), "spool": str(executor.spool.folder)}
            item = await work_item(broker, Goal(id="g1", kind="p.dies.copying", params=params))
            await attempt.run_mission(item, executor)
            assert [path.name for path in executor.spool.folder.iterdir()] == ["lock"]
        finally:
            executor.close()
