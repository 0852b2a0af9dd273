"""A TCP proxy between a client and the broker that loses what the broker answers, or the whole connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Proxy:
    """Forwards to `port`. While `deaf`, what the broker says is thrown away; `cut` ends every connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.deaf = False

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
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()
        self._writers.discard(writer)
