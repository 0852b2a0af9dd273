"""The object store on a real broker: whole or not there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from contracts import artifacts, ids, subjects, topology
from contracts.artifacts import ObjectName
from contracts.errors import ArtifactDamaged, Gone, MaybeStored, StreamFull
from contracts.messages import Artifact
from missions.nats_server import NatsServer
from services.runtime.bus import ApiError, Bus
from services.runtime.objects import CHUNK_BYTES, Objects, artifact_of, whole
from tests.support.broker import connected
from tests.support.eventually import eventually
from tests.support.proxy import Proxy

MISSION = ids.mission_id("test", "1")


def named(artifact: Artifact) -> ObjectName:
    return artifacts.object_name(MISSION, "g1", artifact)


async def kept(objects: Objects, data: bytes, name: str = "a.bin") -> ObjectName:
    artifact = artifact_of(data, name)
    await objects.put(named(artifact), artifact, data)
    return named(artifact)


async def messages(bus: Bus) -> int:
    return (await bus.stream_state(topology.ARTIFACTS)).messages


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES + 7])
async def test_what_is_put_is_read_back(nats_url: str, size: int) -> None:
    data = os.urandom(size)
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        meta = await objects.find(await kept(objects, data))
        assert (meta.size, meta.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert await whole(objects.read(meta)) == data


async def test_a_file_is_put_as_bytes_are(nats_url: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    artifact = artifact_of(data, "a.bin")
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        await objects.put(named(artifact), artifact, tmp_path / "file")
        assert await whole(objects.read(await objects.find(named(artifact)))) == data


async def test_the_object_store_of_the_nats_client_reads_it(nats_url: str) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 5)
    async with connected(nats_url) as broker:
        name = await kept(Objects(broker.bus), data, "größe 1.bin")
    client = await nats.connect(nats_url)
    try:
        store = await client.jetstream().object_store("ARTIFACTS")
        assert [info.name for info in await store.list()] == [str(name)]
        assert (await store.get(str(name))).data == data
    finally:
        await client.close()


async def test_the_same_object_is_stored_once(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        await kept(objects, b"x")
        before = await messages(broker.bus)
        await kept(objects, b"x")
        assert await messages(broker.bus) == before == 2


async def test_other_content_of_the_same_name_replaces_nothing(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        names = [await kept(objects, data) for data in (b"of the zombie", b"of the owner")]
        assert [await whole(objects.read(await objects.find(name))) for name in names] == [
            b"of the zombie",
            b"of the owner",
        ]


async def test_a_source_that_is_not_what_was_said_is_not_stored(nats_url: str) -> None:
    artifact = artifact_of(b"before", "a.bin")
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        with pytest.raises(ArtifactDamaged):
            await objects.put(named(artifact), artifact, b"after!")
        with pytest.raises(Gone):
            await objects.find(named(artifact))


async def test_the_last_chunk_comes_only_when_all_of_it_is_right(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        objects = Objects(broker.bus)
        name = await kept(objects, os.urandom(3 * CHUNK_BYTES))
        meta = await objects.find(name)
        await take_second_chunk(broker.bus, meta.nuid)
        came: list[bytes] = []
        with pytest.raises(Gone):
            await collect(objects.read(meta), came)
        assert len(came) < meta.chunks


async def collect(chunks: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in chunks:
        into.append(chunk)  # noqa: PERF401 - what came before an error counts


async def take_second_chunk(bus: Bus, nuid: str) -> None:
    stored = await bus.records(topology.ARTIFACTS, subjects.artifact_chunks(nuid))
    await bus.api(f"STREAM.MSG.DELETE.{topology.ARTIFACTS}", {"seq": stored[1].seq})


async def test_an_upload_survives_a_broker_that_starts_again(nats_server: NatsServer, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "file").write_bytes(data)
    artifact = artifact_of(data, "a.bin")
    async with connected(nats_server.url) as broker:
        objects = Objects(broker.bus)
        putting = asyncio.ensure_future(objects.put(named(artifact), artifact, tmp_path / "file"))

        async def begun() -> bool:
            return await messages(broker.bus) > 8

        await eventually(begun)
        await asyncio.to_thread(nats_server.restart)
        await putting
        got = hashlib.sha256()
        async for chunk in objects.read(await objects.find(named(artifact))):
            got.update(chunk)
        assert got.hexdigest() == artifact.sha256


async def test_a_reader_survives_a_broker_that_starts_again(nats_server: NatsServer) -> None:
    data = os.urandom(40 * CHUNK_BYTES)
    async with connected(nats_server.url) as broker:
        objects = Objects(broker.bus)
        chunks = objects.read(await objects.find(await kept(objects, data)))
        first = await anext(chunks)
        await asyncio.to_thread(nats_server.restart)
        assert first + await whole(chunks) == data


async def test_an_upload_without_answers_ends_and_leaves_no_object(nats_server: NatsServer) -> None:
    artifact = artifact_of(b"x", "a.bin")
    async with connected(nats_server.url) as direct, Proxy(nats_server.port) as proxy:
        async with connected(proxy.url) as broker:
            proxy.deaf = True
            with pytest.raises(MaybeStored):
                await Objects(broker.bus, patience_s=0.1).put(named(artifact), artifact, b"x")
            proxy.deaf = False
            proxy.cut()
        with pytest.raises(Gone):
            await Objects(direct.bus).find(named(artifact))


async def test_nobody_who_may_store_can_wipe_or_replace(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        name = await kept(Objects(broker.bus), b"x")
        for rollup in ("all", "sub"):
            with pytest.raises(ApiError) as refused:
                await broker.bus.publish_acked(
                    subjects.artifact_meta(str(name)), b"{}", headers={"Nats-Rollup": rollup}
                )
            assert refused.value.err_code == 10111
        assert (await Objects(broker.bus).find(name)).size == 1


async def test_a_full_store_says_what_to_do(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        config = (await broker.bus.api(f"STREAM.INFO.{topology.ARTIFACTS}"))["config"]
        await broker.bus.api(f"STREAM.UPDATE.{topology.ARTIFACTS}", {**config, "max_bytes": 300_000})
        with pytest.raises(StreamFull, match="missions prune"):
            await kept(Objects(broker.bus), os.urandom(400_000))
