"""A TCP proxy between a client and the broker that loses what the broker answers, or the connection, or is slow."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Proxy:
    """Forwards to `port`. While `deaf`, what the broker says is thrown away; `cut` ends every connection.

    Between `hold` and `let_go` nothing gets through, and nothing is lost; `held` counts what waits.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.deaf = False
        self.held = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.close()

    def hold(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    def let_go(self) -> None:
        """Let everything through that was held."""
        self._open.set()
        self.held = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers |= {writer, broker_writer}
            await asyncio.gather(
                self._forward(reader, broker_writer, answers=False), self._forward(broker_reader, writer, answers=True)
            )

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if not self._open.is_set():
                    self.held += 1
                    await self._open.wait()
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()
        self._writers.discard(writer)
