"""The whiteboard, wired: the stream into the journal, the journal into answers."""

from __future__ import annotations

import asyncio

from contracts import topology
from services.runtime import chat_http, streams
from services.runtime.bus import Bus
from services.runtime.chat_door import ChatDoor
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.http_server import serve_http
from services.runtime.metrics import Metrics
from services.runtime.objects import Objects
from services.runtime.process import Stop, run_parts
from services.runtime.settings import Settings
from services.runtime.writer import Writer
from services.whiteboard import app, artifacts, problems
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.ingest import Ingest
from services.whiteboard.journal import Journal
from services.whiteboard.routes import routes
from services.whiteboard.serving import Executors

PORT = 8080


async def serve(settings: Settings, stop: Stop) -> None:
    """Serve until `stop`."""
    journal = await asyncio.to_thread(Journal.open, settings.data_dir / "journal")
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
    ingest = Ingest(bus, journal, index, feed, health, metrics)
    answers = app.Answers(journal, index, feed, lambda: ingest.lag, Executors(bus).serving)
    kept = artifacts.Artifacts(index.path, Objects(bus))
    door = ChatDoor(bus, Writer(bus, topology.CHAT))
    http = create_app([*routes(answers), *artifacts.routes(kept), *chat_http.routes(door)], health, metrics, settings)
    for kind, answer in {**problems.ERRORS, **artifacts.ERRORS}.items():
        http.add_exception_handler(kind, answer)
    try:
        await run_parts(
            stop,
            ingest.run(stop),
            serve_http(http, settings, PORT, stop),
            bus.watch(stop),
            _wake_on(stop, feed, ingest),
        )
    finally:
        answers.close()
        kept.close()


async def _wake_on(stop: Stop, feed: Feed, ingest: Ingest) -> None:
    """End what is waited for as soon as the end is asked for: open streams would hold the server up."""
    await stop.wait()
    feed.close()
    ingest.wake()
