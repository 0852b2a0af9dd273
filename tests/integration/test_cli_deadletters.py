"""`missions deadletters` against a real broker."""

from __future__ import annotations

import base64

from contracts import topology
from services.runtime import deadletters
from services.runtime.bus import Bus
from tests.support.broker import connected
from tests.support.whole import Command


async def keep(bus: Bus, *bodies: bytes) -> None:
    for number, body in enumerate(bodies, 1):
        await deadletters.keep(
            bus,
            "orchestrator",
            stream=topology.CHAT,
            seq=number,
            subject="chat.events.ops",
            data=body,
            reason="too deep",
        )


async def test_they_are_listed_newest_first_with_where_they_came_from_and_why(nats_url: str) -> None:
    missions = Command(nats_url)
    async with connected(nats_url) as broker:
        await keep(broker.bus, b'{"text": 1}', b"\xff\x00", b"third")
        await broker.bus.api("STREAM.MSG.DELETE.DEADLETTERS", {"seq": 1})
        await broker.bus.publish_acked("deadletters.whiteboard", b"of somebody else")

    listed = await missions("deadletters", "--json")
    shorter = await missions("deadletters", "--limit", "2")

    assert listed.exit_code == 0
    items = listed.json["items"]
    assert [item["seq"] for item in items] == [4, 3, 2]
    assert (items[0]["service"], items[0]["reason"]) == ("whiteboard", "?")
    assert items[1]["text"] == "third"
    assert (items[1]["subject"], items[1]["stream"], items[1]["stream_seq"]) == ("chat.events.ops", "CHAT", 3)
    assert base64.b64decode(items[2]["data"]) == b"\xff\x00"
    assert "too deep" in shorter.out
    assert len(shorter.out.splitlines()) == 3


async def test_one_is_printed_whole_as_it_came(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        await keep(broker.bus, b'{"text": 1}')

    shown = await Command(nats_url)("deadletters", "1")

    assert (shown.exit_code, shown.out) == (0, '{"text": 1}')
    assert shown.err.startswith("too deep\nfrom chat.events.ops, CHAT 1, by orchestrator, ")


async def test_none_and_no_such_number_are_said(nats_url: str) -> None:
    missions = Command(nats_url)
    async with connected(nats_url):
        none = await missions("deadletters")
        missing = await missions("deadletters", "7")

    assert (none.exit_code, none.err) == (0, "There are none.\n")
    assert missing.exit_code == 1
    assert "there is no dead letter 7" in missing.err


async def test_a_broker_without_the_streams_says_what_to_run(nats_url: str) -> None:
    ran = await Command(nats_url)("deadletters")

    assert ran.exit_code == 78
    assert "missions setup" in ran.err
