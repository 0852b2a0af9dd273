"""A small HTTP client on asyncio streams, so that asking the whiteboard needs no further library."""

from __future__ import annotations

import asyncio
import http
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from contracts.errors import SetupError, WhiteboardUnreachable

JSON = "application/json"
NDJSON = "application/x-ndjson"
_CONNECT_S = 3.0
#: The whiteboard says something every 15 s, even where it has nothing to say.
_SILENCE_S = 60.0
_CRLF = b"\r\n"
_BLOCK = 65_536
_PORTS = {"http": 80, "https": 443}

#: Parameters of a request; None and empty ones are left out.
Query = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return http.HTTPStatus.OK <= self.status < http.HTTPStatus.MULTIPLE_CHOICES


class Web:
    """One HTTP origin. A connection per request: few requests, and nothing to keep alive or to close."""

    def __init__(self, url: str, token: str = "") -> None:
        if token and not (token.isascii() and token.isprintable()):
            raise SetupError("the token holds what no header may: see MISSIONS_TOKEN and MISSIONS_TOKEN_FILE")
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise SetupError(f"{url!r} is not a URL of a whiteboard: {error}") from error
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SetupError(f"{url!r} is not a URL of a whiteboard: http://127.0.0.1:8080")
        self.url = parts.geturl().rstrip("/")
        self._host = parts.hostname
        self._port = port or _PORTS[parts.scheme]
        self._netloc = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    async def get(self, path: str, query: Query | None = None, seconds: float = 10.0) -> Answer:
        """Return the whole answer, whatever its status; raises `WhiteboardUnreachable` when there is none."""
        try:
            async with asyncio.timeout(seconds), self._request(path, query, JSON) as (answer, blocks):
                body = b"".join([block async for block in blocks])
        except TimeoutError as error:
            raise WhiteboardUnreachable(f"{self.url}{path} did not answer within {seconds:g} s") from error
        return replace(answer, body=body)

    @asynccontextmanager
    async def stream(self, path: str, query: Query | None = None) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Open an endless answer; yield it with its lines, which end when the server or the caller ends them."""
        async with self._request(path, query, NDJSON) as (answer, blocks), aclosing(_lines(blocks)) as lines:
            yield answer, lines

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Open an answer of any length; yield it with its bytes, a block at a time. A bad answer has its whole body."""
        async with self._request(path, None, f"{JSON}, */*") as (answer, blocks):
            body = b"" if answer.ok else b"".join([block async for block in blocks])
            yield replace(answer, body=body), blocks

    @asynccontextmanager
    async def _request(
        self, path: str, query: Query | None, accept: str
    ) -> AsyncIterator[tuple[Answer, AsyncGenerator[bytes]]]:
        reader, writer = await self._connect()
        try:
            with self._translated():
                writer.write(self._head(path, query, accept))
                answer = await _answer(reader)
            async with aclosing(self._blocks(reader, answer)) as blocks:
                yield answer, blocks
        finally:
            writer.close()

    async def _blocks(self, reader: asyncio.StreamReader, answer: Answer) -> AsyncGenerator[bytes]:
        body = _body(reader, answer.headers)
        while True:
            with self._translated():
                async with asyncio.timeout(_SILENCE_S):
                    block = await anext(body, None)
            if block is None:
                return
            yield block

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what a broken connection, or a server that speaks no HTTP, raises into our own error."""
        try:
            yield
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise WhiteboardUnreachable(f"{self.url} broke off: {str(error) or type(error).__name__}") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise WhiteboardUnreachable(
                f"The whiteboard is not reachable at {self.url} (--whiteboard-url or MISSIONS_WHITEBOARD_URL). "
                "Start one: missions up"
            ) from error

    def _head(self, path: str, query: Query | None, accept: str) -> bytes:
        target = quote(self._prefix + path)
        if given := {name: value for name, value in (query or {}).items() if value not in (None, ())}:
            target += "?" + urlencode(given, doseq=True)
        lines = [f"GET {target} HTTP/1.1", f"Host: {self._netloc}", f"Accept: {accept}", "Connection: close"]
        lines += [f"Authorization: Bearer {self._token}"] if self._token else []
        return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(_CRLF * 2)).decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return Answer(int(first.split(" ", 2)[1]), headers)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """Yield the body as it comes: chunked, of a known length, or until the connection ends."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(_CRLF)).split(b";")[0], 16):
            yield (await reader.readexactly(size + len(_CRLF)))[:size]
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            block = await reader.read(min(left, _BLOCK))
            if not block:
                raise EOFError(f"{left} bytes are missing")
            left -= len(block)
            yield block
    else:
        while block := await reader.read(_BLOCK):
            yield block


async def _lines(blocks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the lines that are not empty; what the end tore off is dropped."""
    rest = b""
    async for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
