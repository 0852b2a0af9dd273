"""HTTP beside consumers: one app shape for every service, errors as problem+json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from contracts.errors import MissionsError
from services.runtime.guard import Guard, SlowBody
from services.runtime.health import Health
from services.runtime.metrics import CONTENT_TYPE, Metrics
from services.runtime.openapi import Operation, Parameter, document
from services.runtime.problems import BY_NAME, kind_of, problem
from services.runtime.settings import Settings
from services.runtime.tokens import Tokens

__all__ = ["create_app", "json_response", "problem"]

log = structlog.get_logger()

_ZIPPED_FROM_BYTES = 1_024
_ZIP_LEVEL = 4
_NOT_AT_ALL = frozenset({"q=", "q=0."})  #: once the zeroes are cut off
_NEVER_ZIPPED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-ndjson")
_WHAT_TO_DO = {
    "Not understood": "Mend what detail names; docs/messages.md shows every message",
    "Too large": "Send less in one message; the limits are in docs/operations.md",
    "Gone": "It was removed; its record stays",
    "No such mission": "GET /missions lists them",
    "Not yet": "Ask again",
    "No room": "Raise max_bytes of the stream, then repeat the same request",
    "Not stored": "Repeat the same request with the same id: it is stored once",
    "Failed": "The log of this service says more",
}
_encode = msgspec.json.Encoder().encode


class Alive(msgspec.Struct, frozen=True):
    """The process lives; `pid` is its id, so that who started it knows that nobody else answers in its place."""

    status: str
    pid: int


class Ready(msgspec.Struct, frozen=True):
    """Whether the service really works, and which parts do not, with the reason."""

    ready: bool
    reasons: dict[str, str]
    pid: int


class Zipped(GZipMiddleware):
    """Zips for who accepts it; everybody else's answers pass untouched, and so do artifacts, whatever they are."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if accepts_gzip(Headers(scope=scope)) and "/artifacts/" not in scope["path"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def accepts_gzip(headers: Headers) -> bool:
    """Tell whether the asker takes gzip; who says `gzip;q=0` does not."""
    for part in ",".join(headers.getlist("accept-encoding")).split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding.lower() == "gzip":
            return weight.rstrip("0") not in _NOT_AT_ALL
    return False


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON, encoded by msgspec."""
    return Response(_encode(content), status, headers, media_type="application/json")


def create_app(routes: Sequence[BaseRoute], health: Health, metrics: Metrics, settings: Settings) -> Starlette:
    """Make the app of a service: its routes, health, metrics, its own description, limits and error answers.

    Raises `SetupError` where the tokens cannot be read.
    """
    tokens = Tokens(settings.tokens_file) if settings.tokens_file else None
    app = Starlette(
        routes=[*routes, *_operational(health, metrics), *_explaining()],
        middleware=[
            *_cors(settings),
            Middleware(Guard, settings=settings, tokens=tokens),
            Middleware(
                Zipped,
                minimum_size=_ZIPPED_FROM_BYTES,
                compresslevel=_ZIP_LEVEL,
                exclude_content_types=_NEVER_ZIPPED,
            ),
        ],
        exception_handlers={
            HTTPException: _on_http_exception,
            SlowBody: _on_slow_body,
            MissionsError: _on_missions_error,
            Exception: _on_exception,
        },
    )
    app.router.redirect_slashes = False  # an answer that is nowhere described, for a path that is nothing
    app.state.has_secrets = bool(routes)
    app.state.described = _encode(document(app.routes))
    return app


def _cors(settings: Settings) -> list[Middleware]:
    """Let pages of the named origins read; off by default, and no page of another site may ever write."""
    if not settings.http_origins:
        return []
    exposed = ("ETag", "Link", "X-Sequence")
    allowed = ("Authorization", "If-None-Match", "Last-Event-ID")
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.http_origins,
            allow_methods=("GET", "HEAD"),
            allow_headers=allowed,
            expose_headers=exposed,
        )
    ]


def _operational(health: Health, metrics: Metrics) -> list[BaseRoute]:
    async def livez(_: Request) -> Response:
        return json_response(Alive("alive", os.getpid()))

    async def readyz(_: Request) -> Response:
        reasons = health.reasons()
        return json_response(Ready(not reasons, reasons, os.getpid()), 503 if reasons else 200)

    async def scrape(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return [
        Operation("/livez", livez, "Whether the process lives", answers={200: Alive}, is_open=True),
        Operation(
            "/readyz", readyz, "Whether the service really works", answers={200: Ready, 503: Ready}, is_open=True
        ),
        Operation("/metrics", scrape, "Metrics for Prometheus", media_types={"text/plain": str}),
    ]


def _explaining() -> list[BaseRoute]:
    async def openapi(request: Request) -> Response:
        return Response(request.app.state.described, media_type="application/json")

    return [
        Operation("/openapi.json", openapi, "This description", answers={200: dict}, is_open=True),
        Operation(
            "/problems/{name}",
            explanation,
            "What a type of problem means",
            parameters=(Parameter("name", "The last part of the type", where="path"),),
            media_types={"text/plain": str},
            is_open=True,
        ),
    ]


async def explanation(request: Request) -> Response:
    """`GET /problems/{name}`: what the `type` of a problem means."""
    kind = BY_NAME.get(request.path_params["name"])
    if kind is None:
        raise HTTPException(404, "Not found")
    return PlainTextResponse(f"{kind.title} ({kind.status})\n\n{kind.means}\n")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette dispatches by type
    if error.status_code == 405 and request.method == "OPTIONS":  # noqa: PLR2004
        return Response(status_code=204, headers=error.headers)
    title = error.detail.capitalize()
    hint = {404: "GET /openapi.json lists what there is", 405: "The header Allow says what can be done"}
    detail = f"nothing is at {request.url.path[:128]}" if error.status_code == 404 else ""  # noqa: PLR2004
    return problem(error.status_code, title, detail, hint=hint.get(error.status_code, ""), headers=error.headers)


async def _on_missions_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MissionsError)  # noqa: S101 - starlette dispatches by type
    kind = kind_of(type(error))
    return problem(kind.status, kind.title, str(error), hint=_WHAT_TO_DO[kind.title])


async def _on_slow_body(_: Request, error: Exception) -> Response:
    return problem(408, "Too slow a body", str(error), hint="Send it again", headers={"Connection": "close"})


async def _on_exception(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(500, "Our fault", hint="The log of this service says more")
