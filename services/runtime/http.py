"""HTTP beside consumers: one app shape for every service, errors as problem+json, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.codec import MAX_MESSAGE_BYTES
from contracts.errors import ContractError, Gone, MissionsError, NotFound, SetupError, StreamFull, TooLarge, WaitOver
from contracts.errors import WriteError as NotStored
from services.runtime.health import Health
from services.runtime.metrics import CONTENT_TYPE, Metrics
from services.runtime.process import Stop
from services.runtime.settings import Settings

log = structlog.get_logger()

MAX_BODY_BYTES = MAX_MESSAGE_BYTES
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_encode = msgspec.json.Encoder().encode

#: Which of our errors is which HTTP answer; the first match counts.
STATUS_OF: tuple[tuple[type[MissionsError], int, str], ...] = (
    (TooLarge, 413, "Too large"),
    (ContractError, 400, "Not understood"),
    (Gone, 410, "Gone"),
    (NotFound, 404, "No such mission"),
    (WaitOver, 408, "Not yet"),
    (StreamFull, 503, "No room"),
    (NotStored, 503, "Not stored"),
    (MissionsError, 500, "Failed"),
)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON, encoded by msgspec."""
    return Response(_encode(content), status, headers, media_type="application/json")


def problem(
    status: int, title: str, detail: str = "", *, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with an RFC 9457 problem; `hint` says what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "hint": hint}
    content = {name: value for name, value in body.items() if value != ""}
    return Response(_encode(content), status, headers, media_type="application/problem+json")


def create_app(routes: Sequence[BaseRoute], health: Health, metrics: Metrics, settings: Settings) -> Starlette:
    """Make the app of a service: its routes, `/livez`, `/readyz`, `/metrics`, limits and error answers."""
    return Starlette(
        routes=[*routes, *_operational(health, metrics)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(settings)),
            Middleware(BodyLimit),
        ],
        exception_handlers={
            HTTPException: _on_http_exception,
            MissionsError: _on_missions_error,
            Exception: _on_exception,
        },
    )


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the Host names that are answered: loopback, the address bound to, and what the settings add."""
    bound = () if settings.http_host in {"0.0.0.0", "::"} else (settings.http_host,)  # noqa: S104 - compared, not bound
    return [*_LOOPBACK, *bound, *settings.http_hosts]


def _operational(health: Health, metrics: Metrics) -> list[Route]:
    async def livez(_: Request) -> Response:
        return json_response({"status": "alive"})

    async def readyz(_: Request) -> Response:
        reasons = health.reasons()
        return json_response({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def scrape(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", scrape)]


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette dispatches by type
    hint = "Try /missions, /events, /stats or POST /chat/integrated" if error.status_code == 404 else ""  # noqa: PLR2004
    return problem(error.status_code, error.detail, hint=hint, headers=error.headers)


async def _on_missions_error(_: Request, error: Exception) -> Response:
    status, title = next((status, title) for kind, status, title in STATUS_OF if isinstance(error, kind))
    return problem(status, title, str(error))


async def _on_exception(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(500, "Our fault", hint="The log of this service says more")


class BodyLimit:
    """Refuses a request body over the limit before anything parses it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            await _too_large()(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    @staticmethod
    def _counting(receive: Receive) -> Callable[[], Awaitable[Message]]:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes")
            return message

        return counted


def _too_large() -> Response:
    return problem(413, "Too large", f"the body is over {MAX_BODY_BYTES} bytes")


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
    """A uvicorn server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Own no signal."""
        yield


async def serve_http(app: Starlette, settings: Settings, port: int, stop: Stop) -> None:
    """Serve until `stop`, then let open requests end within two seconds. `port` is used where none is set."""
    wanted = port if settings.http_port is None else settings.http_port
    with contextlib.closing(bind(settings.http_host, wanted)) as listener:
        _warn_if_open(settings)
        log.info("http_listening", host=settings.http_host, port=listener.getsockname()[1])
        server = _Server(_config(app))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        wish = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({serving, wish}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            wish.cancel()
            await serving


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=16_384,
    )


def _warn_if_open(settings: Settings) -> None:
    if settings.http_host not in _LOOPBACK:
        log.warning("http_open", host=settings.http_host, hint="anyone who reaches this port may read and write")
