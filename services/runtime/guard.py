"""What every request must pass before anything else sees it: its Host, its token, the size and pace of its body."""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.codec import MAX_MESSAGE_BYTES
from contracts.errors import MissionsError, TooLarge
from services.runtime.problems import FOLDER, problem
from services.runtime.settings import Settings
from services.runtime.tokens import READ, WRITE, Tokens

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BODY_BYTES = MAX_MESSAGE_BYTES
#: A body goes on within this time, or the request is given up.
BODY_PAUSE_S = 20.0
#: What anybody may ask: is it alive, and what do its answers mean.
_OPEN = frozenset({"/livez", "/readyz", "/openapi.json"})
_ASKING = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", re.ASCII)
_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class SlowBody(MissionsError):
    """The body of the request did not arrive in time."""


class Guard:
    """Refuses what may not pass, with a problem that says why."""

    def __init__(self, app: ASGIApp, settings: Settings, tokens: Tokens | None) -> None:
        self._app = app
        self._hosts = allowed_hosts(settings)
        self._any_host = "*" in self._hosts
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._of_host(headers) or self._of_token(scope, headers) or _of_size(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["method"] in _ASKING:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, _counting(receive), send)

    def _of_host(self, headers: Headers) -> Response | None:
        host = ", ".join(headers.getlist("host"))  # of two, another server may have looked at the other
        if self._any_host or hostname(host) in self._hosts:
            return None
        hint = "Name a host that it listens on, or add this one to MISSIONS_HTTP_HOSTS"
        return problem(400, "Unknown host", f"the host {host[:64]!r} is not answered for", hint=hint)

    def _of_token(self, scope: Scope, headers: Headers) -> Response | None:
        path: str = scope["path"]
        if self._tokens is None or path in _OPEN or path.startswith(FOLDER):
            return None
        kind, _, presented = headers.get("authorization", "").partition(" ")
        token = self._tokens.find(presented.strip()) if kind.lower() == "bearer" and presented else None
        if token is None:
            hint = "Send `Authorization: Bearer <token>`; whoever runs this makes one with: missions token NAME"
            detail = "the token is not known" if presented else "the request carries no token"
            return problem(401, "No token", detail, hint=hint, headers={"WWW-Authenticate": 'Bearer realm="missions"'})
        needed = READ if scope["method"] in _ASKING else WRITE
        if needed in token.scopes:
            return None
        authenticate = f'Bearer realm="missions", error="insufficient_scope", scope="{needed}"'
        detail = f"the token {token.name!r} has no scope {needed}"
        hint = f"Use a token with the scope {needed}"
        return problem(403, "Not allowed", detail, hint=hint, headers={"WWW-Authenticate": authenticate})


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return the host names that are answered for: loopback, the address bound to, and what the settings add."""
    bound = () if settings.http_host in _ANYWHERE else (settings.http_host,)
    return frozenset(name.lower() for name in (*LOOPBACK, *bound, *settings.http_hosts))


def hostname(host: str) -> str:
    """Return the name in a Host header, without its port and the brackets of IPv6; empty where it is none."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def _of_size(headers: Headers) -> Response | None:
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        return problem(413, "Too large", f"the body is over {MAX_BODY_BYTES} bytes", hint="Send less in one message")
    return None


def _counting(receive: Receive) -> Receive:
    """Bound what a body is and how long it takes to come."""
    size, over = 0, False

    async def counted() -> Message:
        nonlocal size, over
        if over:  # what comes now is only that the client went away: an answer may take its time
            return await receive()
        try:
            async with asyncio.timeout(BODY_PAUSE_S):
                message = await receive()
        except TimeoutError as error:
            raise SlowBody from error
        size += len(message.get("body", b""))
        over = not message.get("more_body", False)
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes")
        return message

    return counted
