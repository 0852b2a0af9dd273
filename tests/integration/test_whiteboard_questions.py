"""Questions to a real whiteboard: who serves a queue, many who wait at once, a feed taken up elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from contracts import subjects
from contracts.messages import Goal
from missions.whiteboard import Whiteboard
from tests.support.broker import connected
from tests.support.watching import Board, complete, whiteboard

ECHO = Goal(id="g1", kind="echo")
MANY = 400


async def at_once(
    board: Board, path: str, times: int, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> list[bytes]:
    """Ask the same on many connections; what happens meanwhile happens when all have asked, and nobody has read."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    port = int(board.url.rpartition(":")[2])
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(times)]
    for _, writer in connections:
        writer.write(request)
    if meanwhile:
        await meanwhile()
    answers = await asyncio.gather(*(reader.read() for reader, _ in connections))
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()
    return answers


async def test_why_asks_the_broker_who_serves_the_queue(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        idle, stranded = await broker.propose(ECHO), await broker.propose(ECHO, queue="gpu")
        await board.reaches(2)
        told = await board.get(f"/missions/{idle}/why")
        assert told["summary"] == "It has not been started: nobody serves the queue default now"
        assert (told["facts"]["serving"]["pending"], told["facts"]["serving"]["lease_s"]) == (1, 2.0)
        told = await Whiteboard(board.url).why(stranded)
        assert told["summary"] == "It has not been started: no executor ever served the queue gpu"


async def test_what_it_serves_is_what_is_documented(nats_url: str, tmp_path: Path) -> None:
    async with whiteboard(nats_url, tmp_path) as board:
        kept = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
        assert await board.get("/openapi.json") == kept


async def test_all_who_ask_why_at_once_ask_the_broker_once(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        mission_id = await broker.propose(ECHO, queue="gpu")
        await board.reaches(1)

        async def in_vain() -> int:
            return int((await broker.bus.api("INFO"))["api"]["errors"])  # nobody serves it: each question is an error

        before = await in_vain()
        answers = await at_once(board, f"/missions/{mission_id}/why", 100)
        assert sum(b"no executor ever served the queue gpu" in answer for answer in answers) == 100
        assert 1 <= await in_vain() - before < 50


async def test_a_stream_begins_behind_the_sequence_that_it_says(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        await broker.propose(ECHO)
        await board.reaches(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(board.url.rpartition(":")[2]))
        writer.write(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\nGET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heads = [(await reader.readuntil(b"\r\n\r\n")).lower() for _ in range(2)]
        assert all(b"x-sequence: 1\r\n" in head for head in heads)
        assert b"id: 1\n\n" in await reader.readuntil(b"id: 1\n\n")
        writer.close()
        await writer.wait_closed()


async def test_hundreds_may_wait_for_one_outcome_at_once_and_nobody_else_waits(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        mission_id = await broker.propose(ECHO)
        await board.reaches(1)

        async def cancel() -> None:
            assert (await board.get(f"/missions/{mission_id}"))["status"] == "proposed"
            body = {"event_id": "x", "mission_id": mission_id, "status": "cancelled", "core": "failed"}
            await broker.bus.publish(subjects.status("default", mission_id), json.dumps(body).encode())

        answers = await at_once(board, f"/missions/{mission_id}?wait=25", MANY, cancel)
        assert sum(b'"status":"cancelled"' in answer for answer in answers) == MANY


async def test_a_reader_takes_up_at_another_whiteboard_where_the_first_one_ended(nats_url: str, tmp_path: Path) -> None:
    async def read(url: str, after: int, until: int) -> list[int]:
        found: list[int] = []
        async with aclosing(Whiteboard(url).feed(after)) as records:
            async for record in records:
                found.append(record.seq)
                if record.seq == until:
                    return found
        raise AssertionError

    async with connected(nats_url) as broker:
        await complete(broker, 5)
        async with whiteboard(nats_url, tmp_path / "one") as board:
            await board.reaches(15)
            assert await read(board.url, 0, 9) == list(range(1, 10))
        async with whiteboard(nats_url, tmp_path / "other") as board:
            await board.reaches(15)
            assert await read(board.url, 9, 15) == list(range(10, 16))
