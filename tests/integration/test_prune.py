"""What `missions prune` removes, and what it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from contracts import artifacts, ids, subjects, topology
from contracts.errors import TopologyError
from contracts.messages import Goal
from missions import Client
from services.executor.context import Context
from services.executor.registry import goal
from services.runtime import pruning
from services.runtime.objects import Objects, artifact_of
from services.runtime.pruning import Pruned, Pruning
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.watching import whiteboard
from tests.support.whole import Command, whole

DAY = 86_400.0


@goal("keep")
def keep(ctx: Context) -> str:
    ctx.artifact("a.bin", os.urandom(300_000))
    return "x" * 70_000


@pytest.fixture
def in_forty_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the future be now."""
    now = pruning.wall_clock() + 40 * DAY
    monkeypatch.setattr(pruning, "wall_clock", lambda: now)


async def pruned(broker: Broker, **options: Any) -> Pruned:
    return await Pruning(broker.bus, 30 * DAY, **({"even_unread": True} | options)).run()


async def left(broker: Broker, stream: str) -> int:
    return (await broker.bus.stream_state(stream)).messages


async def orphan(broker: Broker, mission_id: str, data: bytes = b"orphan") -> None:
    """Store what no record names, as an attempt that lost its mission does."""
    artifact = artifact_of(data, "a.bin")
    await Objects(broker.bus).put(artifacts.object_name(mission_id, "g1", artifact), artifact, data)


@pytest.mark.usefixtures("in_forty_days")
async def test_an_old_mission_goes_with_all_that_it_kept(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        mission_id = await broker.propose(Goal(id="g1", kind="keep"))
        await broker.outcome(mission_id)
        await orphan(broker, mission_id)
        found = await pruned(broker, dry_run=True)
        assert (found.missions, found.artifacts, await left(broker, topology.MISSIONS)) == (1, 3, 3)
        done = await pruned(broker)
        assert vars(done) == vars(found)
        assert (await left(broker, topology.MISSIONS), await left(broker, topology.ARTIFACTS)) == (0, 0)
        assert vars(await pruned(broker)) == vars(Pruned())


async def test_a_young_mission_stays_and_so_does_what_it_kept(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        await broker.outcome(await broker.propose(Goal(id="g1", kind="keep")))
        assert vars(await Pruning(broker.bus, 0, even_unread=True).run()) == vars(Pruned())
        assert await left(broker, topology.MISSIONS) == 3


@pytest.mark.usefixtures("in_forty_days")
async def test_a_mission_that_is_not_over_stays_however_old(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        mission_id = await broker.propose(Goal(id="g1", kind="keep"))
        await orphan(broker, mission_id)
        assert (await pruned(broker)).missions == 0
        assert await left(broker, topology.MISSIONS) == 1


@pytest.mark.usefixtures("in_forty_days")
async def test_what_nobody_names_goes_and_what_others_put_stays(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        await orphan(broker, ids.mission_id("test", "never proposed"))
        await broker.bus.publish_acked(subjects.artifact_chunks("cutoff"), b"half an upload")
        foreign = artifact_of(b"mine", "mine")
        name: Any = "backups/of/somebody"
        await Objects(broker.bus).put(Named(name), foreign, b"mine")
        before = await left(broker, topology.ARTIFACTS)
        done = await pruned(broker)
        assert (before, done.orphans, await left(broker, topology.ARTIFACTS)) == (5, 2, 2)


class Named(artifacts.ObjectName):
    """A name that is not one of ours."""

    def __new__(cls, text: str) -> Named:
        return super().__new__(cls, "", "", "", text)

    def __str__(self) -> str:
        return self.name


@pytest.mark.usefixtures("in_forty_days")
async def test_orphans_of_a_mission_that_stays_go_and_what_its_records_name_stays(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        mission_id = await broker.propose(Goal(id="g1", kind="keep"))
        await broker.outcome(mission_id)
        await orphan(broker, mission_id)
        before = await left(broker, topology.ARTIFACTS)
        done = await Pruning(broker.bus, 100 * DAY, even_unread=True).run()
        assert (done.missions, done.orphans, await left(broker, topology.ARTIFACTS)) == (0, 1, before - 2)


@pytest.mark.usefixtures("in_forty_days")
async def test_what_has_not_been_read_stays_and_is_counted(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        await broker.outcome(await broker.propose(Goal(id="g1", kind="keep")))
        done = await pruned(broker, even_unread=False)
        assert (done.missions, done.unread) == (0, 1)


@pytest.mark.usefixtures("in_forty_days")
async def test_a_whiteboard_goes_on_after_the_records_it_has_are_removed(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path, keep) as board, Client(nats_url, board.url) as client:
        mission_id = await client.say("/run keep")
        await client.wait(mission_id)
        async with connected(nats_url) as broker:

            async def removed() -> bool:
                return (await pruned(broker, even_unread=False)).missions == 1

            await eventually(removed)
        assert (await client.mission(mission_id))["status"] == "completed"
        assert (await client.wait(await client.say("/run echo text=on")))["result"] == "on"
    async with whiteboard(nats_url, tmp_path) as again:
        _, stats = await again.answer("/stats")
        assert (stats["missions"], stats["journal"]["gaps"], stats["journal"]["forks"]) == (2, 0, 0)


@pytest.mark.usefixtures("in_forty_days")
async def test_a_whiteboard_that_is_behind_writes_down_what_it_missed(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, keep):
        await broker.outcome(await broker.propose(Goal(id="g1", kind="keep")))
        await pruned(broker)
        await broker.propose(Goal(id="g1", kind="echo", params={"text": "hi"}))
        async with whiteboard(nats_url, tmp_path) as board:

            async def caught_up() -> bool:
                _, stats = await board.answer("/stats")
                return bool(stats["missions"] == 1 and stats["journal"]["gaps"] == 1)

            await eventually(caught_up)


async def test_nothing_goes_where_chat_events_may_come_again_for_ever(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        config = (await broker.bus.api("STREAM.INFO.CHAT"))["config"]
        await broker.bus.api("STREAM.UPDATE.CHAT", {**config, "max_age": 0})
        with pytest.raises(TopologyError, match="set max_age"):
            await pruned(broker)


async def test_the_command_line_says_what_it_removed(nats_url: str) -> None:
    missions = Command(nats_url)
    async with connected(nats_url):
        dry = await missions("prune", "--older-than", "30d", "--dry-run")
        counted = await missions("prune", "--older-than", "30d", "--json")
    assert dry.out == "Would remove 0 missions, 0 artifacts, 0 orphaned uploads; 0 B of artifacts\n"
    assert counted.json["missions"] == 0
    assert (await missions("prune", "--older-than", "soon")).exit_code == 2
