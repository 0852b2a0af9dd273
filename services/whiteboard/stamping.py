"""What an answer says of itself: which sequence it reflects, its version, and where its next page is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.runtime.http import json_response
from services.whiteboard import cursors

_NOT_MODIFIED = 304


def following(request: Request, of: str, numbers: tuple[int, ...] | None) -> tuple[str | None, dict[str, str]]:
    """Return the cursor of the next page of a list, and the header that links to it; None where this is the last."""
    if numbers is None:
        return None, {}
    cursor = cursors.encode(of, *numbers)
    url = request.url.include_query_params(cursor=cursor)
    return cursor, {"Link": f'<{url.path}?{url.query}>; rel="next"'}


def stamped(request: Request, content: Any, version: int, seq: int, more: Mapping[str, str] | None = None) -> Response:
    """Answer with the sequence it reflects, or with 304 where the asker has this version."""
    headers = {"ETag": f'"{version}"', "X-Sequence": str(seq), "Cache-Control": "no-cache", **(more or {})}
    return not_modified(request, headers) or json_response(content, headers=headers)


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """Return the answer for who has the version of `headers` already, as `If-None-Match` tells; else None."""
    known = ",".join(request.headers.getlist("if-none-match"))
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if not tags & {headers["ETag"], "*"}:
        return None
    return Response(status_code=_NOT_MODIFIED, headers={k: v for k, v in headers.items() if k not in _OF_A_BODY})


def head_of(headers: Mapping[str, str], media_type: str) -> Response:
    """Answer a `HEAD` about what is only known once it is sent: its length is not told."""
    answer = Response(headers=headers, media_type=media_type)
    del answer.headers["Content-Length"]
    return answer


_OF_A_BODY = frozenset({"Content-Length", "Content-Type", "Content-Disposition"})
