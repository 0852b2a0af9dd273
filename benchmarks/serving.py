"""Serves a board without a broker: `python -m benchmarks.serving FOLDER`.

It prints its port; a number on stdin is how many records to append; the end of stdin ends it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from itertools import islice
from pathlib import Path

import structlog
import uvloop

from benchmarks import board
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.http_server import bind, serve_http
from services.runtime.incoming import rfc3339
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.settings import Settings
from services.whiteboard import problems
from services.whiteboard.app import Answers
from services.whiteboard.facts import Serving
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note
from services.whiteboard.routes import routes

_AT_ONCE = 10


async def serve(folder: Path) -> None:
    """Serve until stdin ends."""
    journal = Journal.open(folder / "journal", board.Unsynced())
    index = Index.open(folder / "index.sqlite", journal)
    feed, stop = Feed(journal, index.last_seq), Stop()

    async def nobody(_: str) -> Serving:
        return Serving(exists=False)

    answers = Answers(journal, index, feed, lambda: 0, nobody)
    with bind("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
    settings = Settings(http_port=port)
    app = create_app(routes(answers), Health(), Metrics("whiteboard"), settings)
    for kind, answer in problems.ERRORS.items():
        app.add_exception_handler(kind, answer)
    serving = asyncio.ensure_future(serve_http(app, settings, port, stop))
    await asyncio.sleep(0.2)
    print(port, flush=True)
    while wanted := (await asyncio.to_thread(sys.stdin.readline)).strip():
        await _append(int(wanted), journal, index, feed)
    feed.close()
    stop.set()
    await serving
    answers.close()
    index.close()
    journal.close()


async def _append(wanted: int, journal: Journal, index: Index, feed: Feed) -> None:
    for start in range(0, wanted, _AT_ONCE):
        first = journal.last_seq + 1
        messages = list(islice(board.messages(_AT_ONCE), min(_AT_ONCE, wanted - start)))
        notes = [
            Note(seq, rfc3339(board.BEGAN_NS + seq * 1_000_000), *message)
            for seq, message in enumerate(messages, first)
        ]
        records = journal.append(notes)
        feed.publish(records, index.apply(records).changed.values())
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    gc.set_threshold(50_000, 20, 20)  # as services do
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(serve(Path(sys.argv[1])))
