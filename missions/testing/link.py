"""The way between a process and the broker, which can be cut: packets stop, connections stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from missions.testing.backend import Unsupported
from missions.testing.portal import Portal

_HOST = "127.0.0.1"
_AT_ONCE_BYTES = 65_536


class Link:
    """A relay on this machine to the port that `broker_port` names when somebody connects.

    While it is cut, nothing gets through in either direction, new connections are taken and hear nothing, and what was
    written waits: once it is joined again, it arrives, late, as from a network that was down.
    """

    def __init__(self, portal: Portal, broker_port: Callable[[], int]) -> None:
        self._portal = portal
        self._broker_port = broker_port
        self._joined = asyncio.Event()
        self._joined.set()
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the process finds the broker."""
        if self._server is None:
            raise Unsupported("the stack is not started")
        return f"nats://{_HOST}:{self._server.sockets[0].getsockname()[1]}"

    def start(self) -> None:
        """Listen."""
        self._portal.call(self._start())

    def stop(self) -> None:
        """Listen no longer, and end every connection."""
        self._portal.call(self._stop())

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._portal.soon(self._joined.clear)

    def join(self) -> None:
        """Let everything through that waits, and what comes."""
        self._portal.soon(self._joined.set)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, _HOST, 0)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the link; asyncio would report it
        finally:
            writer.close()
            self._relays.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the broker is down: whoever connects hears the end at once
            await self._joined.wait()
            answers, broker = await asyncio.open_connection(_HOST, self._broker_port())
            try:
                await asyncio.gather(self._forward(reader, broker), self._forward(answers, writer))
            finally:
                broker.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_AT_ONCE_BYTES):
                await self._joined.wait()
                writer.write(data)
                await writer.drain()
            await self._joined.wait()  # an end is a packet, too
        writer.close()
