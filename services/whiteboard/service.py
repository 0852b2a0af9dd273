"""The whiteboard, wired: the stream into the journal, the journal into answers."""

from __future__ import annotations

import asyncio

from contracts import topology
from services.runtime import chat_http, streams
from services.runtime.bus import Bus
from services.runtime.chat_door import HTTP_WITHIN_S, ChatDoor
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.http_server import serve_http
from services.runtime.metrics import Metrics
from services.runtime.objects import Objects
from services.runtime.process import Stop, run_parts
from services.runtime.settings import Settings
from services.runtime.writer import Writer
from services.whiteboard import app, artifacts, export, problems
from services.whiteboard.care import Care, Rules
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.ingest import Ingest
from services.whiteboard.journal import Journal
from services.whiteboard.retention import Keep
from services.whiteboard.room import Room
from services.whiteboard.routes import routes
from services.whiteboard.serving import Executors

PORT = 8080
_MIB = 1024 * 1024
_DAY_S = 86_400


def open_journal(settings: Settings) -> Journal:
    """Open the journal of these settings."""
    return Journal.open(settings.data_dir / "journal", segment_bytes=int(settings.journal_segment_mb * _MIB))


def rules_of(settings: Settings) -> Rules:
    """Return how these settings want a journal kept."""
    keep = Keep(age_s=settings.journal_keep_days * _DAY_S, size_bytes=int(settings.journal_keep_mb * _MIB))
    return Rules(keep, settings.journal_compress)


async def serve(settings: Settings, stop: Stop) -> None:
    """Serve until `stop`."""
    journal = await asyncio.to_thread(open_journal, settings)
    try:
        index = await asyncio.to_thread(Index.open, settings.data_dir / "index.sqlite", journal)
        bus = await Bus.connect(settings, "whiteboard")
        try:
            await streams.apply(bus, settings.queues, settings.lease_s, manage=settings.manage_streams)
            await _serve(settings, stop, bus, journal, index)
        finally:
            await bus.close()
            index.close()
    finally:
        journal.close()


async def _serve(settings: Settings, stop: Stop, bus: Bus, journal: Journal, index: Index) -> None:
    health, metrics, feed = Health(), Metrics("whiteboard"), Feed(journal, index.last_seq)
    room = Room(journal.folder, min_free_bytes=int(settings.min_free_mb * _MIB))
    ingest = Ingest(bus, journal, index, feed, health, metrics, room=room)
    care = Care(journal, index, ingest, bus, metrics, rules_of(settings))
    answers = app.Answers(journal, index, feed, lambda: ingest.lag, Executors(bus).serving)
    kept = artifacts.Artifacts(index.path, Objects(bus))
    door = ChatDoor(bus, Writer(bus, topology.CHAT), HTTP_WITHIN_S)
    table = [
        *routes(answers),
        export.route(journal, feed, answers.full_id),
        *artifacts.routes(kept),
        *chat_http.routes(door),
    ]
    http = create_app(table, health, metrics, settings)
    for kind, answer in {**problems.ERRORS, **artifacts.ERRORS}.items():
        http.add_exception_handler(kind, answer)
    try:
        await run_parts(
            stop,
            ingest.run(stop),
            care.run(stop),
            serve_http(http, settings, PORT, stop),
            bus.watch(stop),
            _wake_on(stop, feed, ingest),
        )
    finally:
        ingest.close()
        answers.close()
        kept.close()


async def _wake_on(stop: Stop, feed: Feed, ingest: Ingest) -> None:
    """End what is waited for as soon as the end is asked for: open streams would hold the server up."""
    await stop.wait()
    feed.close()
    ingest.wake()
