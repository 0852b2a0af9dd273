"""The HTTP client, against servers that answer in every way that is allowed, and in some that are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.errors import PermissionDenied, SetupError, WhiteboardUnreachable
from missions.web import Web
from missions.whiteboard import Whiteboard

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[Web, list[bytes]]]:
    """Serve this very answer to everyone; yield a client and the requests that came."""
    requests: list[bytes] = []

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Web(f"http://127.0.0.1:{port}/base/"), requests


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\n\r\nhello and more",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        OK + b"\r\nhello",
    ],
)
async def test_a_body_is_read_however_it_is_framed(answer: bytes) -> None:
    async with answering(answer) as (web, _):
        got = await web.get("/x")

    assert (got.status, got.body) == (200, b"hello")


async def test_a_request_carries_path_and_given_parameters_only() -> None:
    async with answering(OK + b"Content-Length: 0\r\n\r\n") as (web, requests):
        await web.get("/a b", {"q": "ä&b", "none": None, "empty": (), "many": ("1", "2")})

    assert requests[0].startswith(b"GET /base/a%20b?q=%C3%A4%26b&many=1&many=2 HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_lines_come_whole_whatever_the_chunks() -> None:
    body = b'4\r\n{"a"\r\n6\r\n:1}\n\n{\r\n4\r\n}\nto\r\n0\r\n\r\n'
    async with (
        answering(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body) as (web, _),
        web.stream("/events") as (answer, lines),
    ):
        assert answer.ok
        assert [line async for line in lines] == [b'{"a":1}', b"{}"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"+OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        OK + b"Content-Length: 10\r\n\r\nhalf",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"X: " + b"y" * 100_000,
    ],
)
async def test_what_is_no_http_is_one_error_of_ours(answer: bytes) -> None:
    async with answering(answer) as (web, _):
        with pytest.raises(WhiteboardUnreachable):
            await web.get("/x")


async def test_nobody_there_says_how_to_start_one() -> None:
    with pytest.raises(WhiteboardUnreachable, match="Start one: missions up"):
        await Web("http://127.0.0.1:1").get("/x")


async def test_silence_ends() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass
        writer.close()
        await writer.wait_closed()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        web = Web(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(WhiteboardUnreachable, match=r"did not answer within 0\.05 s"):
            await web.get("/x", seconds=0.05)
        await over.wait()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http:///missions", "nats://127.0.0.1:4222"])
def test_what_cannot_be_a_whiteboard_is_refused(url: str) -> None:
    with pytest.raises(SetupError):
        Web(url)


async def test_a_token_is_sent_with_every_request_and_never_in_the_url() -> None:
    async with answering(OK + b"Content-Length: 0\r\n\r\n") as (web, requests):
        await Web(web.url, "mst_x").get("/a")

    assert b"\r\nAuthorization: Bearer mst_x\r\n" in requests[0]
    assert b"mst_x" not in requests[0].splitlines()[0]
    with pytest.raises(SetupError, match="MISSIONS_TOKEN"):
        Web("http://localhost", "a\r\nb")


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
async def test_a_whiteboard_that_wants_a_token_is_a_permission_denied(status: bytes) -> None:
    body = b'{"title":"No token","hint":"Send one"}'
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with answering(answer) as (web, _):
        with pytest.raises(PermissionDenied, match=r"No token\. Send one"):
            await Whiteboard(web.url).stats()
        with pytest.raises(PermissionDenied):
            await anext(Whiteboard(web.url).feed(0))
