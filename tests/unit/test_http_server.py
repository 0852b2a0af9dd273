"""The end of a server: nobody who does not read holds it up, and nothing of it looks like a fault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.runtime import http_server
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.metrics import Metrics
from services.runtime.openapi import Operation
from services.runtime.process import Stop
from tests.support.broker import settings_for
from tests.support.eventually import eventually

MANY = 20


async def test_readers_that_never_read_do_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_server, "END_WITHIN_S", 0.05)
    sending = 0

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal sending
        sending += 1
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            sending -= 1

    async def endless(_: Request) -> Response:
        return StreamingResponse(blocks())

    app = create_app([Operation("/endless", endless, "Never ends")], Health(), Metrics("executor"), settings_for(""))
    with http_server.bind("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
    stop = Stop()
    serving = asyncio.ensure_future(http_server.serve_http(app, settings_for("", http_port=port), port, stop))

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection("127.0.0.1", port, limit=1)
        except ConnectionRefusedError:
            return None

    connections = [await eventually(opened) for _ in range(MANY)]
    for connection in connections:
        assert connection is not None
        connection[1].write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: sending == MANY)
    with caplog.at_level(logging.ERROR):
        stop.set()
        await serving
    assert caplog.messages == []
    await eventually(lambda: sending == 0)
    for connection in connections:
        assert connection is not None
        connection[1].close()
        with suppress(ConnectionError):
            await connection[1].wait_closed()
