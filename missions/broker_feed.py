"""Following missions on the broker itself, for a client that has no whiteboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from contracts import ids, subjects
from contracts.errors import MaybeStored, NotFound
from contracts.topology import MISSIONS
from missions.records import Record
from services.runtime.bus import Bus
from services.runtime.incoming import Incoming, Stored, rfc3339

_LOOK_EVERY_S = 1.0
_decode = msgspec.json.Decoder().decode


class BrokerFeed:
    """The records of missions, read from the stream in its order.

    The live feed of core NATS only says *when* to read: it may lose a message and nothing is missed.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._listening = False

    async def follow(self, mission_id: str) -> AsyncGenerator[Record]:
        """Yield the records of a mission, those stored and those to come, without an end of its own."""
        await self._listen()
        with self._news_about(mission_id) as news:
            queue = await self._queue(mission_id, news)
            last = _subjects(queue, mission_id)
            while True:
                news.clear()
                for stored in await self._after(last):
                    last[stored.subject] = stored.seq
                    yield record_of(stored)
                await _wait(news)

    async def mission(self, mission_id: str) -> dict[str, Any]:
        """Return the mission that its stored records tell, as the whiteboard would; raises `NotFound`."""
        from services.whiteboard import record, view  # noqa: PLC0415 - the journal's: only for who reads without HTTP

        queue = await self._find(mission_id)
        found = await self._after(_subjects(queue, mission_id)) if queue else []
        lines = (record.Record(one.seq, rfc3339(one.time_ns), one.subject, one.data, b"") for one in found)
        told = view.fold(lines)
        if told is None:
            raise NotFound(f"no mission {mission_id}")
        body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(told))
        return body

    async def _queue(self, mission_id: str, news: asyncio.Event) -> str:
        """Wait until the mission is proposed; return its queue."""
        while (queue := await self._find(mission_id)) is None:
            await _wait(news)
            news.clear()
        return queue

    async def _find(self, mission_id: str) -> str | None:
        if not ids.is_mission_id(mission_id):
            raise NotFound(f"{mission_id[:64]!r} is no mission id: those are 26 letters and digits")
        try:
            proposal = await self._bus.head(MISSIONS, subjects.proposed("*", mission_id))
        except MaybeStored:
            return None  # the broker is away: asked again at the next look
        return subjects.parse_record(proposal.subject).queue if proposal else None

    async def _after(self, last: dict[str, int]) -> list[Stored]:
        """Read what follows on each subject, one subject at a time: a wildcard would make the broker scan."""
        found: list[Stored] = []
        try:
            for subject, seq in last.items():
                found += await self._bus.records(MISSIONS, subject, after=seq)
        except MaybeStored:
            return []
        return sorted(found, key=lambda stored: stored.seq)

    @contextmanager
    def _news_about(self, mission_id: str) -> Iterator[asyncio.Event]:
        news = asyncio.Event()
        readers = self._readers.setdefault(mission_id, set())
        readers.add(news)
        try:
            yield news
        finally:
            readers.discard(news)
            if not readers:
                self._readers.pop(mission_id, None)

    async def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            for subject in (subjects.PROPOSED_FEED, subjects.STATUS_FEED):
                await self._bus.subscribe(subject, self._on_feed)

    async def _on_feed(self, incoming: Incoming) -> None:
        mission_id = incoming.headers.get("Nats-Subject", "").rpartition(".")[2]
        for news in self._readers.get(mission_id, ()):
            news.set()


def _subjects(queue: str, mission_id: str) -> dict[str, int]:
    return {subjects.proposed(queue, mission_id): 0, subjects.status(queue, mission_id): 0}


def record_of(stored: Stored) -> Record:
    """Return the record that a message of the stream is; what is not JSON is kept as text."""
    try:
        data = _decode(stored.data)
    except (msgspec.DecodeError, RecursionError):
        data = stored.data.decode(errors="replace")
    return Record(stored.seq, rfc3339(stored.time_ns), stored.subject, data)


async def _wait(news: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(news.wait(), _LOOK_EVERY_S)
    except TimeoutError:
        return
