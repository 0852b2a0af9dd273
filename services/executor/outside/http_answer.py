"""What an http kind returns of an answer: bounded, as text or JSON, and only where there is something to return."""

from __future__ import annotations

import codecs
from contextlib import aclosing
from typing import Any

import httpx2

from contracts import codec
from contracts.errors import ContractError, TooLarge
from services.executor.context import Reject
from services.executor.outside import bounded

MAX_BODY_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 32 * 1024
_MAX_VALUE = 1_024
#: Headers that say what the answer is, or what to ask next.
_KEPT = ("content-type", "content-length", "etag", "last-modified", "location", "retry-after", "x-request-id")
#: Charsets to decode by name; the rest is read as UTF-8, for a codec's name from outside may be a slow or odd one.
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16"})
#: A journal line puts the answer this many levels deeper, and has to stay within the depth that every reader allows.
_LEVELS_ABOVE = 8
_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500
_OVERLOADED_OR_LATE = frozenset({408, 425, 429})


class CallFailed(Exception):
    """There is no usable answer this time; another try may get one."""


async def read(response: httpx2.Response, url: str, origin: str) -> dict[str, Any]:
    """Return the answer as a goal's result, reading no more of it than that holds.

    Raises `CallFailed` for 5xx and what asks to come back later, `Reject` for other client errors and excesses.
    """
    _judge(response, origin)
    data, truncated = await _body(response)
    if data and response.headers.get("content-encoding", "identity") != "identity":
        raise Reject(f"{origin} answered compressed, though it was asked not to")
    content, cut = _content(data, truncated, response.headers.get("content-type", ""))
    headers = {name: response.headers[name][:_MAX_VALUE] for name in _KEPT if name in response.headers}
    return {"status": response.status_code, "url": url, "headers": headers, **content, "truncated": truncated or cut}


def _judge(response: httpx2.Response, origin: str) -> None:
    status = response.status_code
    if status >= _SERVER_ERRORS or status in _OVERLOADED_OR_LATE:
        raise CallFailed(f"{origin} answered {status}")
    if status >= _CLIENT_ERRORS:
        raise Reject(f"{origin} answered {status}")
    if sum(len(name) + len(value) for name, value in response.headers.raw) > _MAX_HEADER_BYTES:
        raise Reject(f"{origin} answered with more than {_MAX_HEADER_BYTES} bytes of headers")


async def _body(response: httpx2.Response) -> tuple[bytes, bool]:
    """Return the body, up to the limit, and whether there was more of it."""
    data = b""
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) > MAX_BODY_BYTES:
                return data[:MAX_BODY_BYTES], True
    return data, False


def _content(data: bytes, truncated: bool, content_type: str) -> tuple[dict[str, Any], bool]:
    media_type, _, parameters = content_type.lower().partition(";")
    if not truncated and media_type.strip().endswith(("/json", "+json")):
        try:
            return {"json": _json(data)}, False
        except ContractError:
            pass  # it may say so, and still be no JSON for us: its text is there to look at
    text = _text(data, parameters.partition("charset=")[2].strip(' "'), final=not truncated)
    body = bounded.head(text, MAX_BODY_BYTES)
    return {"body": body}, len(body) < len(text)


def _json(data: bytes) -> Any:
    codec.check_limits(b"[" * _LEVELS_ABOVE + data + b"]" * _LEVELS_ABOVE)
    value = codec.decode_any(data)
    if len(codec.encode(value)) > MAX_BODY_BYTES:  # 1e9 comes back as 1000000000.0
        raise TooLarge
    return value


def _text(data: bytes, charset: str, *, final: bool) -> str:
    decoder = codecs.getincrementaldecoder(charset if charset in _CHARSETS else "utf-8")
    return decoder(errors="replace").decode(data, final)
