"""What nats-py does that our runtime works around."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats as nats_py
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from missions.nats_server import NatsServer
from services.runtime.incoming import Incoming
from services.runtime.nats_client import LeanClient
from tests.support.eventually import eventually
from tests.support.raw_nats import connected, error_code, publish_bytes


async def freeze(server: NatsServer) -> None:
    """Pause the server, and wait until the last of its threads stands still."""
    server.pause()
    await eventually(lambda: all(is_stopped(task) for task in Path(f"/proc/{server.pid}/task").iterdir()))


def is_stopped(task: Path) -> bool:
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_a_pong_that_comes_after_its_rtt_timed_out_ends_the_read_loop(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as nats:
        reading = nats.client._reading_task
        assert reading is not None
        await freeze(nats_server)
        with pytest.raises(NatsTimeoutError):
            await nats.client.rtt(timeout=1)
        assert not reading.done()
        nats_server.resume()
        await eventually(reading.done)


async def test_a_ping_that_is_waited_for_without_being_given_up_survives_a_late_pong(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as nats:
        await freeze(nats_server)
        ping = asyncio.ensure_future(nats.client.rtt(timeout=60))
        await asyncio.wait({ping}, timeout=0.2)
        assert not ping.done()
        nats_server.resume()
        assert await ping > 0
        await nats.client.flush(timeout=5)


async def test_wildcards_and_foreign_letters_in_a_published_subject_are_stored(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        for subject in ("s.*", "s.>", "s.é", "s.\x00"):
            assert error_code(await nats.publish(subject)) == 0
        assert await nats.messages("S") == 4


async def test_headers_and_body_together_over_max_payload_end_the_connection_for_good(nats_url: str) -> None:
    closed = asyncio.Event()

    async def on_close() -> None:
        closed.set()

    client = await nats_py.connect(nats_url, closed_cb=on_close, max_reconnect_attempts=-1)
    await client.publish("s", b"x" * (client.max_payload - 10), headers={"name": "y" * 100})
    await asyncio.wait_for(closed.wait(), 10)
    assert client.is_closed


async def test_an_ack_without_a_consumer_seems_to_work(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.client.publish("$JS.ACK.S.c.1.1.1.1.0", b"+ACK")
        await nats.client.flush(timeout=5)
        assert nats.client.is_connected


@pytest.mark.parametrize("subject", [b"s.\xff", b"s.a\x0bb"])
async def test_a_message_under_a_subject_of_odd_bytes_is_the_last_that_is_read(
    nats_server: NatsServer, subject: bytes
) -> None:
    client = await nats_py.connect(nats_server.url, allow_reconnect=False)
    reading = client._reading_task
    assert reading is not None
    await client.subscribe("s.*")
    await client.flush()
    await publish_bytes(nats_server, subject, b"x")
    await eventually(reading.done)
    await client.close()


async def test_a_direct_subscription_takes_bodies_headers_and_statuses_until_it_ends(nats_url: str) -> None:
    client, taken = LeanClient(), list[Incoming]()
    await client.connect(nats_url)
    subscription = await client.subscribe_direct("s.*", taken.append)
    await client.publish("s.plain", b"1", reply="r")
    await client.publish("s.headers", b"2", headers={"a": "b"})
    await client.publish("nobody.listens", reply="s.status")
    await eventually(lambda: len(taken) == 3)
    assert [(message.subject, message.data, message.reply) for message in taken] == [
        ("s.plain", b"1", "r"),
        ("s.headers", b"2", ""),
        ("s.status", b"", ""),
    ]
    assert [dict(message.headers) for message in taken[:2]] == [{}, {"a": "b"}]
    assert taken[2].headers["Status"] == "503"
    await subscription.unsubscribe()
    await client.publish("s.late", b"3")
    with pytest.raises(NoRespondersError):
        await client.request("s.late", timeout=5)
    assert len(taken) == 3
    await client.close()


async def test_a_taker_that_raises_is_told_of_and_reading_goes_on(nats_url: str) -> None:
    client, errors = LeanClient(), list[Exception]()

    async def on_error(error: Exception) -> None:
        errors.append(error)

    def refuse(message: Incoming) -> None:
        raise ValueError(message.subject)

    await client.connect(nats_url, error_cb=on_error)
    await client.subscribe_direct("s", refuse)
    await client.publish("s")
    await client.publish("s")
    await eventually(lambda: [str(error) for error in errors] == ["s", "s"])
    await client.close()
