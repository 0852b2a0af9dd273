"""What handlers keep, log and say about their progress, on a real broker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import artifacts, codec, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Artifact, Goal, RetryPolicy, StatusRecord, status_record
from services.executor import large
from services.executor.context import Context
from services.executor.registry import goal
from services.runtime.objects import Objects, whole
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.outcomes import run, shape

TWENTY_MB = 20 * 1024 * 1024


@goal("keep.thread")
def keep_in_thread(ctx: Context, text: str = "hi", name: str = "a.txt") -> str:
    return ctx.artifact(name, text).sha256


@goal("keep.loop")
async def keep_in_loop(ctx: Context) -> str:
    return ctx.artifact("a.csv", b"a;b").sha256


@goal("keep.big")
def keep_big(ctx: Context, folder: str) -> str:
    path = Path(folder) / "big"
    path.write_bytes(os.urandom(TWENTY_MB))
    sha256 = ctx.artifact("big.bin", path).sha256
    path.unlink()  # what was handed over is the executor's
    return sha256


@goal("keep.then_fail")
def keep_then_fail(ctx: Context) -> str:
    ctx.artifact("try.txt", f"try {ctx.attempt}")
    if ctx.attempt == 1:
        raise RuntimeError("not yet")
    return "done"


@goal("large")
def large_result(ctx: Context, size: int) -> list[str]:
    return ["x" * size]


@goal("talkative")
def talkative(ctx: Context, lines: int = 1) -> str:
    log = ctx.log.bind(customer="ann")
    for number in range(lines):
        log.info("line read", number=number)
    ctx.log.debug("not kept")
    worker = threading.Thread(target=lambda: ctx.log.warning("from a thread"))
    worker.start()
    worker.join()
    return "done"


def said(records: list[StatusRecord]) -> list[Artifact]:
    return [artifact for record in records if record.goal for artifact in record.goal.artifacts]


async def content(broker: Broker, mission_id: str, artifact: Artifact, goal_id: str = "g1") -> bytes:
    objects = Objects(broker.bus)
    return await whole(objects.read(await objects.find(artifacts.object_name(mission_id, goal_id, artifact))))


async def objects_stored(broker: Broker) -> int:
    return (await broker.bus.stream_state(topology.ARTIFACTS)).messages


@pytest.mark.parametrize(
    ("function", "name", "media_type", "data"),
    [(keep_in_thread, "a.txt", "text/plain", b"hi"), (keep_in_loop, "a.csv", "text/csv", b"a;b")],
)
async def test_an_artifact_is_named_by_the_outcome_and_costs_no_further_record(
    nats_url: str, function: Callable[..., Any], name: str, media_type: str, data: bytes
) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, function):
        kind = function.__name__.replace("_in_", ".")
        records = await run(broker, Goal(id="g1", kind=kind))
        assert shape(records) == ["active", "completed"]
        (artifact,) = said(records)
        assert (artifact.name, artifact.media_type, artifact.size_bytes) == (name, media_type, len(data))
        assert artifact.sha256 == records[-1].result == hashlib.sha256(data).hexdigest()
        assert await content(broker, records[0].mission_id, artifact) == data


async def test_an_artifact_of_20_mb_goes_round_whole(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep_big):
        records = await run(broker, Goal(id="g1", kind="keep.big", params={"folder": str(tmp_path)}))
        (artifact,) = said(records)
        data = await content(broker, records[0].mission_id, artifact)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (TWENTY_MB, records[-1].result)


async def test_every_try_names_what_it_kept(nats_url: str) -> None:
    policy = RetryPolicy(max_attempts=2, backoff_s=0.01)
    async with connected(nats_url) as broker, executing(broker.settings, keep_then_fail):
        records = await run(broker, Goal(id="g1", kind="keep.then_fail", retry=policy))
        assert shape(records) == ["active", "active/backing_off", "completed"]
        kept = [await content(broker, records[0].mission_id, artifact) for artifact in said(records)]
        assert kept == [b"try 1", b"try 2"]


@pytest.mark.parametrize(
    ("name", "size", "word"),
    [("../a", 1, "is not 1 to 128"), ("result", 1, "choose another"), ("a.txt", 2_000, "MISSIONS_ARTIFACT_BYTES")],
)
async def test_what_cannot_be_kept_says_why(nats_url: str, name: str, size: int, word: str) -> None:
    params = {"text": "x" * size, "name": name}
    async with connected(nats_url, artifact_bytes=1_000) as broker, executing(broker.settings, keep_in_thread):
        records = await run(broker, Goal(id="g1", kind="keep.thread", params=params))
        assert records[-1].reason == "handler_error"
        assert records[-1].error is not None
        assert word in records[-1].error.message
        assert await objects_stored(broker) == 0


async def test_an_artifact_for_which_there_is_no_room_fails_the_try(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep_in_thread):
        config = (await broker.bus.api(f"STREAM.INFO.{topology.ARTIFACTS}"))["config"]
        await broker.bus.api(f"STREAM.UPDATE.{topology.ARTIFACTS}", {**config, "max_bytes": 1_000})
        params = {"text": "x" * 5_000}
        retry = RetryPolicy(max_attempts=2, backoff_s=0.01)
        records = await run(broker, Goal(id="g1", kind="keep.thread", params=params, retry=retry))
        assert [record.reason for record in records] == ["", "artifact_not_stored", "retries_exhausted"]
        assert not said(records)


@pytest.mark.parametrize(("size", "is_large"), [(65_000, False), (66_000, True), (5_000_000, True)])
async def test_a_large_result_is_kept_apart_and_resolved(nats_url: str, size: int, is_large: bool) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, large_result):
        records = await run(broker, Goal(id="g1", kind="large", params={"size": size}))
        result = records[-1].result
        assert (artifacts.claimed(result) is not None) == is_large
        mission_id = records[0].mission_id
        assert await large.resolved(result, mission_id, "g1", Objects(broker.bus)) == ["x" * size]


async def test_a_result_beyond_every_limit_fails_for_good(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, large_result):
        records = await run(broker, Goal(id="g1", kind="large", params={"size": artifacts.MAX_RESULT_BYTES}))
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "result_too_large")


async def test_what_a_handler_logs_is_kept_with_its_goals_next_record(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, talkative):
        records = await run(broker, Goal(id="g1", kind="talkative"))
        assert shape(records) == ["active", "completed"]
        assert records[-1].goal is not None
        assert [(line.level, line.text) for line in records[-1].goal.log] == [
            ("info", "line read customer=ann number=0"),
            ("warning", "from a thread"),
        ]


async def test_a_log_without_end_is_cut_and_says_so(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, talkative):
        records = await run(broker, Goal(id="g1", kind="talkative", params={"lines": 5_000}))
        assert records[-1].goal is not None
        lines = records[-1].goal.log
        assert len(lines) == 100
        assert lines[0].text == "4902 earlier lines were dropped"
        assert lines[-1].text == "from a thread"


async def test_what_a_zombie_stores_stands_beside_what_its_successor_stored(nats_url: str) -> None:
    owned = asyncio.Event()
    release = threading.Event()

    @goal("slow.keep")
    def slow_keep(ctx: Context) -> str:
        if not owned.is_set():
            owned.set()
            release.wait(20)
            return ctx.artifact("a.txt", "of the zombie").name
        return ctx.artifact("a.txt", "of the owner").name

    async with connected(nats_url, lease_s=0.5) as broker, executing(broker.settings, slow_keep):
        mission_id = await broker.propose(Goal(id="g1", kind="slow.keep"))
        await eventually(owned.is_set)
        async with connected(nats_url, lease_s=0.5) as other:
            await fence(other, mission_id)
            release.set()
            outcome = await broker.outcome(mission_id)
        assert outcome.attempt > 1
        (artifact,) = said(await broker.records(mission_id))
        assert await content(broker, mission_id, artifact) == b"of the owner"


async def fence(broker: Broker, mission_id: str) -> None:
    """Take a mission away from its owner as another executor would, and leave it to be found."""
    subject = subjects.status("default", mission_id)
    head = await broker.bus.head(topology.MISSIONS, subject)
    assert head is not None
    record = status_record(
        event_id=f"{mission_id}.2.1", mission_id=mission_id, status=Status.ACTIVE, actor="other", attempt=2
    )
    await broker.missions.write(subject, codec.encode(record), expected=head.seq)


async def test_progress_is_written_a_few_times_a_second_however_many_goals_speak(nats_url: str) -> None:
    stop = threading.Event()

    @goal("counting")
    def counting(ctx: Context) -> None:
        done = 0
        while not stop.wait(0.01):
            done += 1
            ctx.progress(done, 1_000_000)

    async with connected(nats_url) as broker, executing(broker.settings, counting):
        mission_id = await broker.propose(*[Goal(id=f"g{number}", kind="counting") for number in range(10)])

        async def everybody() -> list[StatusRecord]:
            records = [record for record in await broker.records(mission_id) if record.phase == "progress"]
            return records if len({record.goal.id for record in records if record.goal}) == 10 else []

        records = await eventually(everybody, 15)
        stop.set()
        await broker.outcome(mission_id)
        seconds = [record.at.timestamp() for record in records]
        for start in seconds:
            assert sum(start <= at < start + 0.5 for at in seconds) <= 3
        assert records[-1].goal is not None
        assert records[-1].goal.progress is not None
        assert records[-1].goal.progress.eta_s


async def test_an_artifact_may_be_replaced_as_often_as_one_likes(nats_url: str) -> None:
    @goal("previews")
    def previews(ctx: Context) -> str:
        for _ in range(100):  # named each time, enough of them would fit no record
            ctx.artifact("preview.txt", b"the same")
        return "ok"

    async with connected(nats_url) as broker, executing(broker.settings, previews):
        records = await run(broker, Goal(id="g1", kind="previews"))
        assert records[-1].result == "ok"
        assert records[-1].goal is not None
        assert [artifact.name for artifact in records[-1].goal.artifacts] == ["preview.txt"]
