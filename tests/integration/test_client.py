"""The client against real services: nothing it yields is missed or repeated, wherever it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import NotFound, TopologyError, WaitOver
from missions import Client, goal
from missions.nats_server import NatsServer
from missions.records import Record
from tests.support.broker import connected
from tests.support.eventually import eventually
from tests.support.proxy import Proxy
from tests.support.watching import Process
from tests.support.whole import whole, working

STORY = ["proposed", "active", "completed"]


class Gate:
    """A goal kind, `hold`, whose handler waits until the gate is opened."""

    def __init__(self) -> None:
        self._open = False

    def open(self) -> None:
        self._open = True

    @property
    def handler(self) -> Callable[..., Any]:
        @goal("hold")
        async def hold() -> str:
            await eventually(lambda: self._open, 15)
            return "let go"

        return hold


async def history(client: Client, mission_id: str) -> list[Record]:
    return [record async for record in client.follow(mission_id)]


async def active(client: Client, mission_id: str) -> None:
    """Wait until somebody owns the mission."""
    async with aclosing(client.follow(mission_id)) as records:
        async for record in records:
            if record.status == "active":
                return


async def test_the_broker_and_the_whiteboard_tell_the_same_story(nats_url: str, tmp_path: Path) -> None:
    async with (
        whole(nats_url, tmp_path) as board,
        Client(nats_url) as on_broker,
        Client(nats_url, board.url) as on_whiteboard,
    ):
        mission_id = await on_broker.say("/run echo text=hi")
        live, also_live = await asyncio.gather(history(on_broker, mission_id), history(on_whiteboard, mission_id))

        assert [record.status for record in live] == STORY
        assert [(record.seq, record.time, record.data) for record in also_live] == [
            (record.seq, record.time, record.data) for record in live
        ]
        assert await history(on_broker, mission_id) == live
        assert await history(on_whiteboard, mission_id) == also_live
        assert await on_broker.mission(mission_id) == await on_whiteboard.mission(mission_id)


async def test_a_mission_can_be_followed_before_it_exists(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url) as client, Client(nats_url, board.url) as other:
        mission_id = await client.say("/run echo text=hi", id="evt-1")
        following = [asyncio.create_task(history(one, mission_id)) for one in (client, other)]

        for story in await asyncio.gather(*following):
            assert [record.status for record in story] == STORY


async def test_the_same_id_is_the_same_mission(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        said = [await client.say("/run echo text=hi", id="evt-1", conversation="ops") for _ in range(3)]
        assert len(set(said)) == 1

        assert (await client.wait(said[0], 10))["conversation"] == "ops"
        assert len((await client.missions(conversation="ops"))["items"]) == 1


async def test_many_are_said_at_once_and_answered_in_their_order(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        events = [{"text": f"/run echo text={number}", "conversation": f"c{number % 7}"} for number in range(100)]
        found = await client.say_many(events)
        missions = await asyncio.gather(*(client.wait(mission_id, 15) for mission_id in found))

    assert [mission["result"] for mission in missions] == [str(number) for number in range(100)]


async def test_goals_can_be_said_without_words(nats_url: str, tmp_path: Path) -> None:
    async with working(nats_url), Client(nats_url) as client:
        goals: list[dict[str, Any]] = [{"id": "a", "kind": "echo", "params": {"text": "1"}}]
        goals.append({"id": "b", "kind": "echo", "params": {"text": "2"}, "needs": ["a"]})
        mission_id = await client.say(goals=goals, title="two steps", sender="ann")
        mission = await client.wait(mission_id, 10)

    assert (mission["title"], mission["requested_by"]) == ("two steps", "ann")
    assert [one["id"] for one in mission["goals"]] == ["a", "b"]


async def test_a_mission_is_cancelled_on_request(nats_url: str, tmp_path: Path) -> None:
    gate = Gate()
    async with whole(nats_url, tmp_path, gate.handler) as board, Client(nats_url, board.url) as client:
        mission_id = await client.say("/run hold")
        await active(client, mission_id)
        await client.cancel(mission_id, "changed my mind")

        assert (await client.wait(mission_id, 10))["status"] == "cancelled"


async def test_waiting_ends_in_time_with_the_last_status(nats_url: str, tmp_path: Path) -> None:
    gate = Gate()
    async with whole(nats_url, tmp_path, gate.handler) as board:
        for whiteboard_url in (None, board.url):
            async with Client(nats_url, whiteboard_url) as client:
                mission_id = await client.say("/run hold")
                await active(client, mission_id)
                with pytest.raises(WaitOver, match="it is active"):
                    await client.wait(mission_id, 0.3)
        gate.open()


async def test_following_on_the_whiteboard_survives_its_kill(nats_url: str, tmp_path: Path) -> None:
    gate, process = Gate(), Process(nats_url, tmp_path)
    try:
        await process.board.ready()
        async with working(nats_url, gate.handler), Client(nats_url, process.board.url) as client:
            mission_id = await client.say("/run hold")
            following = asyncio.create_task(history(client, mission_id))
            await active(client, mission_id)
            process.end()
            process.start()
            gate.open()

            assert [record.status for record in await following] == STORY
    finally:
        process.end()


async def test_following_on_the_broker_survives_a_cut_connection(nats_url: str) -> None:
    gate = Gate()
    port = int(nats_url.rpartition(":")[2])
    async with working(nats_url, gate.handler), Proxy(port) as proxy, Client(proxy.url) as client:
        mission_id = await client.say("/run hold")
        following = asyncio.create_task(history(client, mission_id))
        await active(client, mission_id)
        proxy.cut()
        gate.open()

        assert [record.status for record in await following] == STORY


async def test_the_last_words_are_heard_when_the_live_feed_lost_them(nats_url: str) -> None:
    """The feed of core NATS is at most once; it must only ever be a hint."""
    async with working(nats_url), Client(nats_url) as client:
        mission_id = await client.say("/run echo text=hi")
        bus = await client.bus()
        async with aclosing(client.follow(mission_id)) as records:
            told = [(await anext(records)).status]
            for subscription in list(bus.nats._subs.values()):
                if subscription.subject.startswith("missions."):
                    await subscription.unsubscribe()
            told += [record.status async for record in records]

    assert told == STORY


async def test_what_nothing_would_store_is_said_at_once(nats_url: str) -> None:
    async with Client(nats_url) as client:
        with pytest.raises(TopologyError, match="Run: missions setup"):
            await client.say("hello")


@pytest.mark.parametrize("mission_id", ["a" * 26, "nosuch", "a.>", "../stats", "é" * 8])
async def test_a_mission_that_nobody_knows_is_not_found(nats_url: str, tmp_path: Path, mission_id: str) -> None:
    async with whole(nats_url, tmp_path) as board:
        for whiteboard_url in (None, board.url):
            async with Client(nats_url, whiteboard_url) as client:
                with pytest.raises(NotFound):
                    await client.mission(mission_id)


async def test_a_prefix_is_enough_for_the_whiteboard(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        mission_id = await client.say("/run echo text=hi")
        await client.wait(mission_id, 10)

        assert (await client.mission(mission_id[:8]))["mission_id"] == mission_id


async def test_nothing_is_connected_to_before_it_is_needed() -> None:
    async with connected_nowhere() as client:
        await client.close()


def connected_nowhere() -> Client:
    return Client("nats://127.0.0.1:1", "http://127.0.0.1:1")


async def test_one_client_connects_once(nats_url: str) -> None:
    async with connected(nats_url), Client(nats_url) as client:
        buses = await asyncio.gather(*(client.bus() for _ in range(5)))

    assert len(set(map(id, buses))) == 1


async def test_a_connection_is_closed_in_peace_while_the_broker_is_down(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as broker:
        nats_server.kill()
        await eventually(lambda: not broker.bus.connected)
        await broker.bus.publish("still.waiting", b"for a connection")
