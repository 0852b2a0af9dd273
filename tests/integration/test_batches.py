"""Reading a mission's records in batches, wherever that is possible."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from contracts import subjects, topology
from missions.nats_server import NatsServer
from services.runtime import batches
from tests.support.broker import Broker, connected
from tests.support.raw_nats import connected as raw

SUBJECT = subjects.status("default", "m")


@pytest.fixture
async def broker(nats_url: str) -> AsyncIterator[Broker]:
    async with connected(nats_url) as found:
        yield found


async def filled(broker: Broker, count: int, size_bytes: int = 10) -> list[int]:
    """Write so many records of one mission, between those of another; return their sequences."""
    found: list[int] = []
    for number in range(count):
        data = json.dumps({"n": number, "text": "x" * size_bytes}).encode()
        found.append(await broker.missions.write(SUBJECT, data, expected=found[-1] if found else 0))
        await broker.missions.write(subjects.status("default", "other"), b"{}", expected=None)
    return found


async def requests_for_records(broker: Broker, after: int = 0) -> tuple[list[int], int]:
    """Read the records; return their sequences and how many messages the client sent for that."""
    before = broker.bus.nats.stats["out_msgs"]
    found = await broker.bus.records(topology.MISSIONS, SUBJECT, after)
    return [stored.seq for stored in found], broker.bus.nats.stats["out_msgs"] - before


async def test_a_long_history_is_read_by_two_requests(broker: Broker) -> None:
    written = await filled(broker, 200)
    assert await requests_for_records(broker) == (written, 2)  # a batch, and the leader's word that it is all
    assert await requests_for_records(broker, after=written[-2]) == (written[-1:], 2)


async def test_a_batch_has_the_messages_as_they_were_written(broker: Broker) -> None:
    await filled(broker, 3)
    by_one = [await broker.bus.message(topology.MISSIONS, seq) for seq in (1, 3, 5)]
    found = await broker.bus.records(topology.MISSIONS, SUBJECT)
    assert [(one.subject, one.seq, one.time_ns, one.data) for one in found] == [
        (one.subject, one.seq, one.time_ns, one.data) for one in by_one if one
    ]


async def test_large_records_come_in_several_batches(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST_BYTES", 50_000)
    written = await filled(broker, 12, size_bytes=20_000)
    found, requests = await requests_for_records(broker)
    assert found == written
    assert requests > len(written) / 4


async def test_who_may_not_read_directly_asks_the_leader(nats_server: NatsServer, broker: Broker) -> None:
    written = await filled(broker, 5)
    async with raw(nats_server.url) as nats:
        info = await nats.api(f"STREAM.INFO.{topology.MISSIONS}")
        await nats.api(f"STREAM.UPDATE.{topology.MISSIONS}", info["config"] | {"allow_direct": False})
    found, requests = await requests_for_records(broker)
    assert (found, requests) == (written, 1 + len(written) + 1)
    assert await requests_for_records(broker) == (written, len(written) + 1)  # it does not ask again for a while


async def test_an_empty_history_is_none(broker: Broker) -> None:
    assert await broker.bus.records(topology.MISSIONS, SUBJECT) == []
    assert await broker.bus.page(topology.MISSIONS, "missions.*.*.*", 1, 10) == []
