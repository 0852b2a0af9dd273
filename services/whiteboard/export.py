"""`GET /export.jsonl`: the journal's own lines as one file, in stream order, plain or compressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
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
_BLOCK_BYTES = 128 * 1024
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
        return StreamingResponse(_body(journal, feed, wanted, packed=packed), headers=headers, media_type=NDJSON)

    return Operation(
        "/export.jsonl",
        export,
        "The journal's lines as a file",
        parameters=_TAKES,
        media_types={NDJSON: {"type": "string"}},
        problems=NO_MISSION,
    )


async def _body(journal: Journal, feed: Feed, wanted: Wanted, *, packed: bool) -> AsyncGenerator[bytes, None]:
    packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    after: int | None = max(0, wanted.since - 1)
    while after is not None:
        block, after = await feed.replaying(partial(_block, journal, wanted, after))
        yield await asyncio.to_thread(packer.compress, block) if packed else block
    yield packer.flush() if packed else b""


def _block(journal: Journal, wanted: Wanted, after: int) -> tuple[bytes, int | None]:
    """Return the next lines, which may be none, and the sequence behind which more follow; None at the end.

    Nothing is held open from one block to the next: whoever reads no further costs one block.
    """
    lines: list[bytes] = []
    seen = 0
    last = after
    for record in journal.replay(after):
        if record.seq > wanted.until:
            return b"".join(lines), None
        if seen >= _BLOCK_BYTES and record.seq > last:  # a note of ours has the sequence of the record before it
            return b"".join(lines), last
        seen += len(record.line)
        last = record.seq
        if wanted.takes(record):
            lines.append(record.line + b"\n")
    return b"".join(lines), None
