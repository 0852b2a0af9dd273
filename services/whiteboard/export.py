"""`GET /export.jsonl`: the journal's own lines as one file, in stream order, plain or compressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.runtime.http import accepts_gzip
from services.runtime.openapi import Operation, Parameter
from services.whiteboard import parameters
from services.whiteboard.feed import Feed
from services.whiteboard.journal import Journal
from services.whiteboard.problems import NO_MISSION
from services.whiteboard.record import Record
from services.whiteboard.stamping import head_of
from services.whiteboard.streaming import NDJSON

_SEQUENCE = {"type": "integer", "minimum": 0}
_TAKES = (
    Parameter("mission_id", "Missions, by id or the start of one; all, where it is missing", repeats=True),
    Parameter("since", "From this sequence on", _SEQUENCE),
    Parameter("until", "Up to this sequence; the last one seen, where it is missing", _SEQUENCE),
)
_BLOCK_BYTES = 256 * 1024
_GZIP = 31
_FAST = 1


class Wanted(NamedTuple):
    """Which records: from `since` to `until`, of these missions where any are named."""

    since: int
    until: int
    missions: frozenset[str]

    def takes(self, record: Record) -> bool:
        """Tell whether it is one of them."""
        return record.seq <= self.until and (not self.missions or record.mission_id in self.missions)


def route(journal: Journal, feed: Feed, full_id: Callable[[str], str]) -> Operation:
    """Return the route. Only what readers may see is exported; a slow reader holds one block."""

    async def export(request: Request) -> Response:
        params = request.query_params
        parameters.check_names(params, _TAKES)
        until = min(parameters.number(params, "until", feed.last_seq), feed.last_seq)
        missions = frozenset(full_id(name) for name in parameters.tokens(params, "mission_id"))
        wanted = Wanted(parameters.number(params, "since", 0), until, missions)
        packed = accepts_gzip(request.headers)
        headers = {
            "X-Sequence": str(until),
            "X-First-Sequence": str(journal.cut.last_seq + 1),
            "Cache-Control": "no-store",
            "Vary": "Accept-Encoding",
        } | ({"Content-Encoding": "gzip"} if packed else {})
        if request.method == "HEAD":
            return head_of(headers, NDJSON)
        return StreamingResponse(_body(journal, wanted, packed=packed), headers=headers, media_type=NDJSON)

    return Operation(
        "/export.jsonl",
        export,
        "The journal's lines as a file",
        parameters=_TAKES,
        media_types={NDJSON: {"type": "string"}},
        problems=NO_MISSION,
    )


async def _body(journal: Journal, wanted: Wanted, *, packed: bool) -> AsyncGenerator[bytes, None]:
    packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    with closing(_blocks(journal, wanted)) as blocks:
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield await asyncio.to_thread(packer.compress, block) if packed else block
    yield packer.flush() if packed else b""


def _blocks(journal: Journal, wanted: Wanted) -> Generator[bytes, None, None]:
    """Yield the lines in blocks; an empty one now and then, so that a reader who left is noticed."""
    lines: list[bytes] = []
    seen = 0
    for record in journal.replay(max(0, wanted.since - 1)):
        if record.seq > wanted.until:
            break
        seen += len(record.line)
        if wanted.takes(record):
            lines.append(record.line + b"\n")
        if seen >= _BLOCK_BYTES:
            yield b"".join(lines)
            lines, seen = [], 0
    if lines:
        yield b"".join(lines)
