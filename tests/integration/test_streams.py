"""The topology on a real broker: made once, by anyone, and differences are said."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from contracts import topology
from contracts.errors import BrokerUnreachable, TopologyError
from services.runtime import streams
from services.runtime.bus import Bus
from tests.support.broker import connected, settings_for

QUEUES = ("default", "gpu")


async def test_services_that_start_together_make_the_topology_once(nats_url: str) -> None:
    buses = [await Bus.connect(settings_for(nats_url), "test") for _ in range(6)]
    await asyncio.gather(*(streams.apply(bus, QUEUES, 30, manage=True) for bus in buses))
    assert await streams.compare(buses[0], QUEUES, 30) == []
    for bus in buses:
        await bus.close()


async def test_applying_again_changes_nothing(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        before = await broker.bus.stream_state(topology.MISSIONS)
        assert await streams.apply(broker.bus, ("default",), 2.0, manage=True) == []
        after = await broker.bus.stream_state(topology.MISSIONS)
        assert replace(after, at_ns=before.at_ns) == before


async def test_who_may_not_manage_says_what_is_missing(nats_url: str) -> None:
    bus = await Bus.connect(settings_for(nats_url), "test")
    with pytest.raises(TopologyError, match=r"stream CHAT is missing.*missions setup"):
        await streams.apply(bus, QUEUES, 30, manage=False)
    await bus.close()


async def test_a_stream_that_differs_is_refused_with_the_difference_and_update_mends_it(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        config = (await broker.bus.api("STREAM.INFO.MISSIONS"))["config"]
        await broker.bus.api("STREAM.UPDATE.MISSIONS", config | {"discard": "old", "max_bytes": 1_000_000})
        with pytest.raises(TopologyError, match="stream MISSIONS: discard is 'old', needed 'new'"):
            await streams.apply(broker.bus, ("default",), 2.0, manage=True)
        await streams.update(broker.bus, ("default",), 2.0)
        assert await streams.compare(broker.bus, ("default",), 2.0) == []
        state = await broker.bus.stream_state(topology.MISSIONS)
        assert state.max_bytes == 1_000_000  # sizes are the operator's


async def test_the_lease_in_force_is_the_consumers(nats_url: str) -> None:
    async with connected(nats_url, lease_s=7) as broker:
        assert await streams.lease_of(broker.bus, "default") == 7.0
        await streams.apply(broker.bus, ("default",), 99.0, manage=True)
        assert await streams.lease_of(broker.bus, "default") == 7.0


async def test_no_broker_is_said_with_the_address_and_what_to_do() -> None:
    with pytest.raises(BrokerUnreachable, match=r"nats://127\.0\.0\.1:9 .*missions up"):
        await Bus.connect(settings_for("nats://127.0.0.1:9", connect_s=0.3), "test")


async def test_a_password_never_shows() -> None:
    with pytest.raises(BrokerUnreachable) as caught:
        await Bus.connect(settings_for("nats://ann:secret@127.0.0.1:9", connect_s=0.3), "test")
    assert "secret" not in str(caught.value)
