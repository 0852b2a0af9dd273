"""How a feed is written to a connection: server-sent events, or lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import msgspec

from services.whiteboard.feed import Feed, Missed, Reached, Wanted
from services.whiteboard.record import GAP, Record

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
PING_S = 15.0
#: A stream ends after this long, so that its reader asks, and is authorised, again.
LASTS_S = 900.0
_RETRY_MS = 1_000
_BLOCK_BYTES = 16 * 1024

_encode = msgspec.json.Encoder().encode

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def sse(feed: Feed, after: int, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Write each record as an event whose id is its sequence and whose data is its journal line.

    `gap` says what is missing, `bye` comes last: ask again from where it ended. An id without an event moves the
    reader's `Last-Event-ID` on, so that whoever sees few of the records, or none, resumes here too.
    """
    reached = after
    yield b"retry: %d\nid: %d\n\n" % (_RETRY_MS, reached)
    async with aclosing(feed.follow(after, wanted, pause_s=PING_S, for_s=LASTS_S)) as parts:
        async for part in parts:
            if isinstance(part, Reached):
                reached = part.seq
                yield b": ping\nid: %d\n\n" % reached
            elif isinstance(part, Missed):
                yield b"event: gap\nid: %d\ndata: %b\n\n" % (part.last, _encode(part))
            else:
                for block in _blocks(part, _event):
                    yield block
    yield b"event: bye\nid: %d\ndata: {}\n\n" % reached


async def ndjson(feed: Feed, after: int, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Write each record as its journal line; an empty line says that nothing came."""
    async with aclosing(feed.follow(after, wanted, pause_s=PING_S, for_s=LASTS_S)) as parts:
        async for part in parts:
            if isinstance(part, Reached):
                yield b"\n"
            elif isinstance(part, Missed):
                yield _gap_line(part)
            else:
                for block in _blocks(part, _line):
                    yield block


def _gap_line(missed: Missed) -> bytes:
    """Return what is missing in the shape of a record, under the subject that such notes have in the journal."""
    return _encode({"seq": missed.last, "time": "", "subject": GAP, "data": missed}) + b"\n"


def _event(record: Record) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (record.seq, record.line)


def _line(record: Record) -> bytes:
    return record.line + b"\n"


def _blocks(records: list[Record], write: Callable[[Record], bytes]) -> Iterator[bytes]:
    """Write records one by one, small ones together: a slow reader holds one block more than its chunk."""
    block = b""
    for record in records:
        text = write(record)
        if block and len(block) + len(text) > _BLOCK_BYTES:
            yield block
            block = b""
        block += text
    if block:
        yield block
