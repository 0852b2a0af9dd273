"""Compare-and-set, group commit and lost acknowledgements, on a real broker."""

from __future__ import annotations

import asyncio

import pytest

from contracts import subjects, topology
from contracts.errors import ContractError, Lost, StreamFull, TooLarge
from missions.nats_server import NatsServer
from services.runtime.bus import Bus
from services.runtime.writer import Writer
from tests.support.broker import connected, settings_for
from tests.support.eventually import eventually
from tests.support.proxy import Proxy


def body(event_id: str) -> bytes:
    return b'{"event_id":"%s"}' % event_id.encode()


async def test_the_first_writer_wins_and_the_second_learns_who(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        subject = subjects.status("default", "m1")
        seq = await broker.missions.write(subject, body("first"), expected=0)
        with pytest.raises(Lost) as caught:
            await broker.missions.write(subject, body("second"), expected=0)
        assert (caught.value.head_event_id, caught.value.head_seq) == ("first", seq)
        assert await broker.missions.write(subject, body("third"), expected=seq) == seq + 1


async def test_of_many_racing_writers_exactly_one_wins(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        subject = subjects.status("default", "m1")
        writers = [Writer(broker.bus, topology.MISSIONS) for _ in range(20)]
        attempts = (writer.write(subject, body(f"w{n}"), expected=0) for n, writer in enumerate(writers))
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Lost) for outcome in outcomes) == 19


async def test_repeating_the_same_bytes_finds_the_record_that_stands(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        subject = subjects.status("default", "m1")
        first = await broker.missions.write(subject, body("e"), expected=0)
        assert await broker.missions.write(subject, body("e"), expected=0) == first
        assert broker.missions.acks_recognised == 1


async def test_concurrent_writes_share_batches_and_each_learns_its_own_sequence(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        names = [f"m{n}" for n in range(1_500)]
        sequences = await asyncio.gather(
            *(broker.missions.write(subjects.status("default", name), body(name), expected=0) for name in names)
        )
        assert sorted(sequences) == list(range(1, 1_501))
        for name, seq in list(zip(names, sequences, strict=True))[::97]:
            stored = await broker.bus.message(topology.MISSIONS, seq)
            assert stored is not None
            assert stored.data == body(name)
        stored = await broker.bus.message(topology.MISSIONS, 1)
        assert stored is not None
        assert "Nats-Batch-Id" in stored.headers


async def test_one_loser_in_a_batch_fails_alone(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        await broker.missions.write(subjects.status("default", "m7"), body("there before"), expected=0)
        outcomes = await asyncio.gather(
            *(broker.missions.write(subjects.status("default", f"m{n}"), body(f"e{n}"), expected=0) for n in range(50)),
            return_exceptions=True,
        )
        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Lost)] == [7]
        assert broker.missions.batches_refused == 1
        assert (await broker.bus.stream_state(topology.MISSIONS)).messages == 50


async def test_two_records_of_one_subject_never_meet_in_a_batch(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        others = [broker.missions.write(subjects.status("default", f"x{n}"), body("x"), expected=0) for n in range(20)]
        twice = [broker.missions.write(subjects.deadletters("a"), b"{}", expected=None) for _ in range(2)]
        outcomes = await asyncio.gather(*others, *twice, return_exceptions=True)
        assert all(isinstance(outcome, int) for outcome in outcomes[:20])
        assert all(isinstance(outcome, ContractError) for outcome in outcomes[20:])  # another stream: a bug, said so


@pytest.mark.parametrize("count", [1, 60])
async def test_a_lost_acknowledgement_is_recognised_as_stored(nats_server: NatsServer, count: int) -> None:
    async with connected(nats_server.url) as broker, Proxy(nats_server.port) as proxy:
        bus = await Bus.connect(settings_for(proxy.url), "lossy")
        writer = Writer(bus, topology.MISSIONS)
        proxy.deaf = True
        writes = [
            asyncio.ensure_future(writer.write(subjects.status("default", f"m{n}"), body(f"e{n}"), expected=0))
            for n in range(count)
        ]

        async def stored() -> bool:
            return (await broker.bus.stream_state(topology.MISSIONS)).messages == count

        await eventually(stored)
        proxy.deaf = False
        proxy.cut()
        assert sorted(await asyncio.gather(*writes)) == list(range(1, count + 1))
        assert writer.acks_recognised == count
        assert (await broker.bus.stream_state(topology.MISSIONS)).messages == count
        await bus.close()


async def test_writes_outlive_a_broker_that_is_killed_and_comes_back(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as broker:
        subject = subjects.status("default", "m1")
        first = await broker.missions.write(subject, body("e1"), expected=0)
        nats_server.kill()
        second = asyncio.ensure_future(broker.missions.write(subject, body("e2"), expected=first))
        nats_server.restart()
        assert await second == first + 1
        assert [stored.data for stored in await broker.bus.records(topology.MISSIONS, subject)] == [
            body("e1"),
            body("e2"),
        ]


async def test_a_full_stream_is_said_and_stores_nothing(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        config = (await broker.bus.api("STREAM.INFO.MISSIONS"))["config"]
        await broker.bus.api("STREAM.UPDATE.MISSIONS", config | {"max_bytes": 2_000})
        outcomes = await asyncio.gather(
            *(broker.missions.write(subjects.status("default", f"m{n}"), b"x" * 400, expected=0) for n in range(10)),
            return_exceptions=True,
        )
        assert any(isinstance(outcome, StreamFull) for outcome in outcomes)
        stored = sum(isinstance(outcome, int) for outcome in outcomes)
        assert (await broker.bus.stream_state(topology.MISSIONS)).messages == stored


async def test_what_is_too_large_never_reaches_the_wire(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        with pytest.raises(TooLarge):
            await broker.missions.write(subjects.status("default", "m"), b"x" * 300_000, expected=0)
        assert broker.bus.connected
