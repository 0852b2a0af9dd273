"""Serving an app: the listening socket, limits on connections that are slow or greedy, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from asyncio import TimerHandle
from collections.abc import Iterator
from typing import cast

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from contracts.errors import SetupError
from services.runtime.guard import LOOPBACK
from services.runtime.problems import problem
from services.runtime.process import Stop
from services.runtime.settings import Settings

log = structlog.get_logger()

#: A request's head is there within this time of its first byte, or of the connection, and is no longer than that.
HEAD_WITHIN_S = 15.0
HEAD_BYTES = 32 * 1024
_KEEP_ALIVE_S = 30
#: How long a stop lets open requests end by themselves; a little later uvicorn cancels what is left, as a fault.
END_WITHIN_S = 1.0
_CANCELLED_AFTER_S = 2
_MOST_CONNECTIONS = 16_384
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_NO_REQUEST = problem(
    400,
    "Not understood",
    "this is no HTTP/1.1 request",
    hint="In a URL, write what is not ASCII by percent signs: é is %C3%A9",
)


class Gathering:
    """A transport that writes the head of an answer together with its body: half the system calls of small answers.

    It holds one part at most, and no longer than the turn of the loop in which it was written.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        """Hold a part back until this turn of the loop ends, or write it behind the one that is held."""
        if self._held:
            self._held += data
            self._flush()
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close, behind all that was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self.is_closing():
            self._transport.write(held)


class LimitedProtocol(HttpToolsProtocol):
    """HTTP that waits for nobody's request for long, and keeps no head of any size."""

    _waiting_for_head: TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", Gathering(transport, self.loop))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take, in the shape of every other problem."""
        head = (f"{name}: {value}\r\n" for name, value in _NO_REQUEST.headers.items())
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n{''.join(head)}\r\n".encode("latin-1"))
        self.transport.write(bytes(_NO_REQUEST.body))
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(name + value)

    def on_headers_complete(self) -> None:
        self._head_is_there()
        if self._head_bytes <= HEAD_BYTES:
            super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_is_there()
        self._head_bytes = 0
        self._waiting_for_head = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _head_is_there(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None

    def _count(self, part: bytes) -> None:
        self._head_bytes += len(part)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """Bind the listening socket; raises `SetupError` with one clear line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"port {port} on {host} is in use: choose another with --port or MISSIONS_HTTP_PORT"
            ) from error
        raise SetupError(f"cannot listen on {host}:{port}: {error}") from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process, and waits for nobody who does not read."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is open."""
        timer = asyncio.get_running_loop().call_later(END_WITHIN_S, self._let_go)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _let_go(self) -> None:
        """Break what is still open: streams that nobody reads see it, and end as they do when a reader leaves."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, LimitedProtocol):
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Own no signal."""
        yield


async def serve_http(app: Starlette, settings: Settings, port: int, stop: Stop) -> None:
    """Serve until `stop`, then let open requests end within a second. `port` is used where none is set.

    Raises `SetupError` where everybody could read and write: beyond loopback there must be tokens, unless
    `MISSIONS_HTTP_INSECURE` says that something else keeps strangers out.
    """
    check_openness(app, settings)
    wanted = port if settings.http_port is None else settings.http_port
    with contextlib.closing(bind(settings.http_host, wanted)) as listener:
        log.info("http_listening", host=settings.http_host, port=listener.getsockname()[1])
        server = _Server(config(app))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        wish = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({serving, wish}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            wish.cancel()
            await serving


def check_openness(app: Starlette, settings: Settings) -> None:
    """Refuse to let everybody in who reaches the port; a service that only tells its health has nothing to guard."""
    host = settings.http_host
    if host in LOOPBACK or settings.tokens_file or not app.state.has_secrets:
        return
    if not settings.http_insecure:
        raise SetupError(
            f"listening on {host} without tokens lets everybody read and write: set MISSIONS_TOKENS_FILE"
            " (missions token makes one), or MISSIONS_HTTP_INSECURE=true where something else keeps strangers out"
        )
    log.warning("http_open", host=host, hint="anyone who reaches this port may read and write")


def config(app: Starlette) -> uvicorn.Config:
    """Return how uvicorn serves an app."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_CANCELLED_AFTER_S,
        limit_concurrency=_MOST_CONNECTIONS,
    )
