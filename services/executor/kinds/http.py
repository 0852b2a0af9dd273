"""Kinds that call other systems: `http.get`, `http.request`. Only what MISSIONS_HTTP_ALLOW lists is called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.executor.context import Context
from services.executor.outside import extras
from services.executor.registry import goal

Url = Annotated[str, Field(max_length=4_096)]
Headers = Annotated[dict[str, str], Field(max_length=64)]
Seconds = Annotated[float, Field(gt=0, le=600)]
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@goal("http.get", retries=3)
async def http_get(ctx: Context, url: Url, headers: Headers | None = None, timeout_s: Seconds = 30.0) -> dict[str, Any]:
    """Fetch a URL of a listed host: its status, some headers, and what it says, cut at 64 KB."""
    await extras.need(ctx.kind, "httpx2", extra="http")
    from services.executor.outside import http_call  # noqa: PLC0415 - only now: it imports httpx2

    headers_sent = http_call.request_headers(headers)
    return await http_call.perform(
        http_call.Call("GET", url, headers_sent, timeout_s=timeout_s), http_call.configured()
    )


@goal("http.request")
async def http_request(  # noqa: PLR0913 - each is a param of the goal
    ctx: Context,
    url: Url,
    *,
    method: Method = "GET",
    headers: Headers | None = None,
    json_body: Annotated[Any, Field(alias="json")] = None,
    body: str | None = None,
    timeout_s: Seconds = 30.0,
) -> dict[str, Any]:
    """Send a request to a listed host, once unless the goal asks for retries; `json` or `body` is what it says."""
    await extras.need(ctx.kind, "httpx2", extra="http")
    from services.executor.outside import http_call  # noqa: PLC0415 - only now: it imports httpx2

    content, content_type = http_call.content_of(json_body, body)
    sent = http_call.request_headers(headers)
    if content_type:
        sent.setdefault("Content-Type", content_type)
    if method not in _SAFE:
        sent.setdefault("Idempotency-Key", ctx.idempotency_key)
    return await http_call.perform(http_call.Call(method, url, sent, content, timeout_s), http_call.configured())
