"""Looking after a journal whose whiteboard is stopped: its index anew, or all of it anew from the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from time import time_ns

import msgspec

from contracts import topology
from contracts.errors import SetupError
from services.runtime.bus import ApiError, Bus, StreamState
from services.runtime.health import Health
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.settings import Settings
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.ingest import Ingest
from services.whiteboard.journal import Journal
from services.whiteboard.service import open_journal

_LOOK_S = 0.1
_NOT_FOUND = 404


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild made; `kept` is where the journal is that was there before."""

    missions: int
    last_seq: int
    gaps: int
    kept: str = ""


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Journal, Index]]:
    """Open a journal and its index, which is brought up to it; raises `JournalLocked` while a whiteboard runs."""
    with closing(open_journal(settings)) as journal, closing(_index(settings, journal)) as index:
        for records in index.missing(journal):
            index.apply(records)
        yield journal, index


def rebuild_index(settings: Settings) -> Rebuilt:
    """Make the index anew from the journal."""
    _check_there(settings)
    with closing(open_journal(settings)):  # the lock first: a whiteboard that runs keeps its index
        for suffix in ("", "-wal", "-shm"):
            settings.data_dir.joinpath(f"index.sqlite{suffix}").unlink(missing_ok=True)
    with opened(settings) as (journal, index):
        return _rebuilt(journal, index)


async def rebuild_journal(settings: Settings) -> Rebuilt:
    """Make the journal and its index anew from the stream; the one that was there is moved aside, whole."""
    bus = await Bus.connect(settings, "whiteboard")
    try:
        state = await stream_of(bus)
        if state is None or not state.messages:
            raise SetupError("the stream MISSIONS holds nothing: a journal made from it would be empty")
        kept = await asyncio.to_thread(_move_aside, settings)
        with opened(settings) as (journal, index):
            await _copy(bus, journal, index, state.last_seq)
            return msgspec.structs.replace(_rebuilt(journal, index), kept=kept)
    finally:
        await bus.close()


async def stream_of(bus: Bus) -> StreamState | None:
    """Return where the stream MISSIONS stands, or None where there is none."""
    try:
        return await bus.stream_state(topology.MISSIONS)
    except ApiError as error:
        if error.code == _NOT_FOUND:
            return None
        raise SetupError(f"cannot look at the stream MISSIONS: {error}") from error


def _index(settings: Settings, journal: Journal) -> Index:
    return Index.open(settings.data_dir / "index.sqlite", journal)


def _check_there(settings: Settings) -> None:
    if not (settings.data_dir / "journal").is_dir():
        raise SetupError(f"there is no journal in {settings.data_dir}: name its directory with --data-dir")


def _move_aside(settings: Settings) -> str:
    """Move the journal away under the time of day, and take its index away; return where it is now."""
    folder = settings.data_dir / "journal"
    if not folder.exists():
        return ""
    with closing(open_journal(settings)):  # nobody writes it
        stamp = datetime.fromtimestamp(time_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        kept = folder.rename(folder.with_name(f"journal.{stamp}"))
    for suffix in ("", "-wal", "-shm"):
        settings.data_dir.joinpath(f"index.sqlite{suffix}").unlink(missing_ok=True)
    return str(kept)


async def _copy(bus: Bus, journal: Journal, index: Index, last_seq: int) -> None:
    """Do what a whiteboard does until a sequence is reached; what stops it is raised."""
    stop = Stop()
    ingest = Ingest(bus, journal, index, Feed(journal, 0), Health(), Metrics("rebuild"))
    copying = asyncio.ensure_future(ingest.run(stop))
    try:
        while journal.last_seq < last_seq and not copying.done():
            await asyncio.wait({copying}, timeout=_LOOK_S)
    finally:
        stop.set()
        ingest.wake()
        await copying


def _rebuilt(journal: Journal, index: Index) -> Rebuilt:
    return Rebuilt(sum(index.statuses.values()), journal.last_seq, index.head.gaps)
