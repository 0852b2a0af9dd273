from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import subjects, topology
from contracts.errors import JournalLocked
from contracts.messages import Goal
from missions.nats_server import NatsServer
from services.runtime.process import Stop
from services.whiteboard.record import FORK, GAP
from services.whiteboard.service import serve
from tests.support.broker import connected, settings_for
from tests.support.eventually import eventually
from tests.support.proxy import Proxy
from tests.support.raw_nats import ODD_TOKENS, publish_bytes
from tests.support.watching import assert_same, complete, starting_whiteboard, whiteboard

ECHO = Goal(id="g1", kind="echo")


async def test_what_is_on_the_stream_comes_onto_the_board(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        ids = await complete(broker, 50)
        await board.reaches(150)
        assert {mission["mission_id"] for mission in (await board.get("/missions?status=completed"))["items"]} == set(
            ids
        )
        assert (await board.get("/stats"))["by_status"]["completed"] == 50
        await assert_same(broker, board)


async def test_who_waits_for_an_outcome_gets_it_when_it_comes(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        mission_id = "a" * 26
        waiting = asyncio.ensure_future(board.get(f"/missions/{mission_id}?wait=20"))
        await broker.propose(ECHO, mission_id=mission_id)
        await board.reaches(1)
        assert not waiting.done()
        await broker.bus.publish(
            subjects.status("default", mission_id),
            b'{"event_id":"x","mission_id":"%b","status":"cancelled","core":"failed"}' % mission_id.encode(),
        )
        assert (await waiting)["status"] == "cancelled"


async def test_a_restart_takes_up_what_came_meanwhile(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker:
        for round_ in range(1, 4):
            await complete(broker, 10)
            async with whiteboard(nats_url, tmp_path) as board:
                await board.reaches(round_ * 30)
                await assert_same(broker, board)
        (tmp_path / "index.sqlite").unlink()
        async with whiteboard(nats_url, tmp_path) as board:
            assert (await board.get("/stats"))["by_status"]["completed"] == 30


async def test_deliveries_lost_with_a_connection_are_fetched_again_although_nothing_follows(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        connected(nats_server.url) as broker,
        Proxy(nats_server.port) as proxy,
        whiteboard(proxy.url, tmp_path) as board,
    ):
        proxy.deaf = True
        await complete(broker, 20)
        proxy.cut()
        proxy.deaf = False
        await board.reaches(60)
        await assert_same(broker, board)


async def test_the_broker_may_be_killed(nats_server: NatsServer, tmp_path: Path) -> None:
    async with connected(nats_server.url) as broker, whiteboard(nats_server.url, tmp_path) as board:
        await complete(broker, 10)
        nats_server.kill()
        nats_server.start()
        await eventually(lambda: broker.bus.connected)
        await complete(broker, 10)
        await board.reaches(60)
        await board.ready()
        await assert_same(broker, board)


async def test_what_nobody_understands_is_journalled_and_pointed_out(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        bodies = [b"", b"rubbish", b'{"status":"odd"}', b"\xff\x00", b"[" * 20_000]
        for body in bodies:
            await broker.bus.publish('missions.status.default."odd"', body)
        await complete(broker, 1)
        await board.reaches(len(bodies) + 3)
        assert (await board.get("/stats"))["records"]["unreadable"] == len(bodies)
        await assert_same(broker, board)
        letters = [await broker.bus.message(topology.DEADLETTERS, seq) for seq in range(1, len(bodies) + 1)]
        assert [letter.data for letter in letters if letter] == bodies


async def test_whatever_bytes_stand_in_a_subject_the_board_goes_on(nats_server: NatsServer, tmp_path: Path) -> None:
    async with connected(nats_server.url) as broker, whiteboard(nats_server.url, tmp_path) as board:
        for token in ODD_TOKENS:
            await publish_bytes(nats_server, b"missions.status.default." + token, b"{}")
        await complete(broker, 1)
        await board.reaches(len(ODD_TOKENS) + 3)
        await assert_same(broker, board)
        letters = await broker.bus.stream_state(topology.DEADLETTERS)
        assert letters.messages == len(ODD_TOKENS)


async def test_what_the_stream_lost_is_recorded_and_makes_it_unready(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker:
        await complete(broker, 2)
        async with whiteboard(nats_url, tmp_path) as board:
            await board.reaches(6)
        await complete(broker, 2)
        await broker.bus.api("STREAM.PURGE.MISSIONS", {"seq": 11})
        async with starting_whiteboard(nats_url, tmp_path) as board:
            await board.red("loss", "7 to 10")
            await board.reaches(12)
            records = board.records()
            assert [record.seq for record in records] == [1, 2, 3, 4, 5, 6, 10, 11, 12]
            assert (records[6].subject, json.loads(records[6].data)) == (GAP, {"first": 7, "last": 10})


async def test_another_stream_in_place_of_ours_is_recorded_once_and_not_followed(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker:
        await complete(broker, 2)
        async with whiteboard(nats_url, tmp_path) as board:
            await board.reaches(6)
        await broker.bus.api("STREAM.DELETE.MISSIONS")
    async with connected(nats_url) as broker:
        await complete(broker, 3)
        for _ in range(2):
            async with starting_whiteboard(nats_url, tmp_path) as board:
                await board.red("stream", "move the journal away")
                records = board.records()
                assert [record.seq for record in records] == [1, 2, 3, 4, 5, 6, 6]
                assert records[6].subject == FORK
                assert (await board.get("/stats"))["missions"] == 2


async def test_a_second_whiteboard_on_the_same_journal_says_why_it_ends(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url), whiteboard(nats_url, tmp_path):
        with pytest.raises(JournalLocked):
            await serve(settings_for(nats_url, data_dir=tmp_path), Stop())


def events(url: str, path: str, last_event_id: str = "") -> Iterator[tuple[str, str]]:
    """Read server-sent events as (event, or else id, data)."""
    request = urllib.request.Request(url + path, headers={"Last-Event-ID": last_event_id} if last_event_id else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield fields.get("event") or fields["id"], fields["data"]
                fields = {}


async def test_a_reader_resumes_across_a_restart_and_is_told_bye(nats_url: str, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    lines: list[bytes] = []

    def read(url: str) -> None:
        seen.extend(events(url, "/events?after=0", str(len(seen)) if seen else ""))

    async with connected(nats_url) as broker:
        for _ in range(3):
            async with whiteboard(nats_url, tmp_path) as board:
                expected = len(seen) + 15
                reading = asyncio.create_task(asyncio.to_thread(read, board.url))
                await complete(broker, 5)
                await _reads(seen, expected)
                lines = [record.line for record in board.records()]
            await reading
            assert seen.pop() == ("bye", "{}")
    assert [int(name) for name, _ in seen] == list(range(1, 46))
    assert [data.encode() for _, data in seen] == lines


async def _reads(seen: list[tuple[str, str]], expected: int) -> None:
    await eventually(lambda: len(seen) >= expected)
