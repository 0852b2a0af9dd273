"""`missions journal restore-stream`: the broker's disk was lost, and the journal tells it again what it must know.

The new stream begins far above every sequence that the journal holds, so fences and cursors never go back. While it is
filled its subjects are private (the broker renames what is stored), so no service can write between; then a note in the
journal says which sequences are copies, and only then the stream gets its own subjects.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import msgspec

from contracts import codec, subjects, topology
from contracts.errors import ContractError, SetupError
from missions.journal_keeping import opened
from services.orchestrator import deadlines
from services.runtime import refusals, streams
from services.runtime.bus import ApiError, Bus
from services.runtime.settings import Settings
from services.whiteboard import query, reseeding
from services.whiteboard.journal import Journal
from services.whiteboard.record import RESTORED, Record
from services.whiteboard.reseeding import Reseed

#: So many sequences the lost broker may have given out that the journal has not seen.
MARGIN = 1_000_000
#: So much is stored at once, with one sync; the broker takes no more in one batch.
_MAX_BATCH = 1_000
_MAX_BATCH_BYTES = 1_000_000
_BATCH_WITHIN_S = 30.0
_DEADLINES_AT_ONCE = 32
_PRIVATE = "restore."
_MARK = "restoring"
_NOT_FOUND = 404
_FAR = "2200-01-01T00:00:00Z"


class Restored(msgspec.Struct, frozen=True):
    """What was told: `first` to `last` are the copies' sequences; `lost` open missions have no proposal any more.

    What stood in `damaged` lines was not told.
    """

    created: str
    first: int
    last: int
    missions: int
    open: int = 0
    lost: tuple[str, ...] = ()
    damaged: int = 0


_decode_restored = msgspec.json.Decoder(Restored).decode


class Restoring:
    """One restoring of the stream from one journal."""

    def __init__(self, bus: Bus, settings: Settings, journal: Journal, connection: sqlite3.Connection) -> None:
        self._bus = bus
        self._settings = settings
        self._journal = journal
        self._connection = connection
        self._missions = self._open = 0
        self._lost: list[str] = []
        self._queues = set(settings.queues)
        self._resumes_at = 0  #: the first sequence of the missions whose work items executors must get
        self._deadlines: list[Record] = []

    async def run(self, *, replace: bool, margin: int) -> Restored:
        """Make and fill the stream; begin again where a run before broke off, say what it did where it did not."""
        if self._journal.last_seq == 0:
            raise SetupError("the journal is empty: there is nothing to restore from")
        info = await self._info()
        if info and not replace and (before := self._done_before(info)):
            return before
        if info:
            await self._make_way(info, replace=replace)
        first = self._journal.last_seq + margin + 1
        config = await self._create(first)
        last = await self._fill(first)
        lost, damaged = tuple(self._lost), self._journal.damaged
        restored = Restored(config["created"], first, last, self._missions, self._open, lost, damaged)
        note = {name: getattr(restored, name) for name in ("created", "first", "last", "missions", "open")}
        await asyncio.to_thread(self._journal.note, RESTORED, last, note)
        await self._open_for_all(last)
        return restored

    async def _info(self) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = await self._bus.api(f"STREAM.INFO.{topology.MISSIONS}")
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise SetupError(f"cannot look at the stream MISSIONS: {error}") from error
        return info

    def _done_before(self, info: dict[str, Any]) -> Restored | None:
        """Return what a run before told where it came to its end, as far as the broker is concerned."""
        note = self._journal.position.last
        if note is None or note.subject != RESTORED or _is_unfinished(info):
            return None
        told = _decode_restored(note.data)
        return told if told.created == info["created"] else None

    async def _make_way(self, info: dict[str, Any], *, replace: bool) -> None:
        """Take away a stream that is empty, or left by a run that broke off; refuse to take any other."""
        if info["state"]["messages"] and not _is_unfinished(info) and not replace:
            raise SetupError(
                f"the stream MISSIONS holds {info['state']['messages']} messages. If they may go, because they are not"
                " what the journal holds, use --replace: they are deleted. Save them first: nats stream backup"
            )
        await self._bus.api(f"STREAM.DELETE.{topology.MISSIONS}")

    async def _create(self, first: int) -> dict[str, Any]:
        private = {
            "subjects": [_PRIVATE + subjects.RECORDS_ALL],
            "subject_transform": {"src": f"{_PRIVATE}>", "dest": ">"},
            "first_seq": first,
            "metadata": _declared()["metadata"] | {_MARK: str(self._journal.last_seq)},
        }
        config = {name: value for name, value in _declared().items() if name != "republish"} | private
        created: dict[str, Any] = await self._bus.api(f"STREAM.CREATE.{topology.MISSIONS}", config)
        return created

    async def _fill(self, first: int) -> int:
        """Tell everything: what is over first, so that executors need not look at it; return the last sequence."""
        seq = first - 1
        settled = (reseeding.over(self._journal, self._connection), reseeding.waiting(self._journal, self._connection))
        seq = await self._publish(self._records(chain(*settled)), seq)
        self._resumes_at = seq + 1
        return await self._publish(self._records(reseeding.under_way(self._journal, self._connection)), seq)

    def _records(self, found: Iterable[Reseed]) -> Iterator[Record]:
        for mission in found:
            self._missions += 1
            self._open += mission.is_open
            if mission.is_open:
                self._queues.add(mission.queue)
                self._deadlines += [record for record in mission.records if subjects.is_proposal(record.subject)]
                if not mission.records:
                    self._lost.append(mission.mission_id)
            yield from mission.records

    async def _publish(self, records: Iterable[Record], seq: int) -> int:
        """Publish in order, in batches that are stored whole, and check that each got the sequences that follow."""
        for part in _batched(records):
            messages = [(_PRIVATE + record.subject, dict[str, str](), record.data) for record in part]
            ack = await self._bus.publish_batch(f"restore-{seq}", messages, _BATCH_WITHIN_S)
            seq += len(part)
            if ack.seq != seq:
                raise SetupError("somebody else writes to the stream MISSIONS, or it lost messages: run this again")
        return seq

    async def _open_for_all(self, last: int) -> None:
        """Set the consumers behind what they have done, then the deadlines, and last give the stream its own subjects.

        So a stream that anybody can write to is finished, and one that is not is begun again.
        """
        queues = tuple(sorted(self._queues))
        for spec in topology.consumers(queues, self._settings.lease_s):
            if spec.stream == topology.MISSIONS:
                starts = last + 1 if spec.name in {topology.ORCHESTRATOR, topology.WHITEBOARD} else self._resumes_at
                await self._make_consumer(spec, starts)
        await streams.create(self._bus, queues, self._settings.lease_s)
        for start in range(0, len(self._deadlines), _DEADLINES_AT_ONCE):
            await asyncio.gather(*map(self._set_deadline, self._deadlines[start : start + _DEADLINES_AT_ONCE]))
        await self._bus.api(f"STREAM.UPDATE.{topology.MISSIONS}", _declared())

    async def _make_consumer(self, spec: topology.ConsumerSpec, starts: int) -> None:
        name = f"{spec.stream}.{spec.name}"
        body = {"stream_name": spec.stream, "config": spec.config | {"pause_until": _FAR}, "action": "create"}
        await self._bus.api(f"CONSUMER.CREATE.{name}", body)
        await self._bus.api(f"CONSUMER.RESET.{name}", {"seq": starts})
        await self._bus.api(f"CONSUMER.PAUSE.{name}", {})

    async def _set_deadline(self, record: Record) -> None:
        """Schedule the deadline of an open mission again, unless its schedule is still there."""
        try:
            mission = codec.decode_mission(record.data)
        except ContractError:
            return
        if mission.deadline is None:
            return
        schedule = deadlines.expiry(mission, mission.deadline)
        try:
            await self._bus.publish_acked(schedule.subject, schedule.data, schedule.headers)
        except ApiError as error:
            if error.err_code not in refusals.WRONG_LAST_SEQ:
                raise


async def restore(settings: Settings, *, replace: bool = False, margin: int = MARGIN) -> Restored:
    """Restore the stream from the journal of these settings; raises `JournalLocked` while a whiteboard runs."""
    bus = await Bus.connect(settings, "setup")
    try:
        await streams.wait_for_jetstream(bus)
        with opened(settings) as (journal, index), closing(query.connect(index.path)) as connection:
            return await Restoring(bus, settings, journal, connection).run(replace=replace, margin=margin)
    finally:
        await bus.close()


def _is_unfinished(info: dict[str, Any]) -> bool:
    return _MARK in (info["config"].get("metadata") or {})


def _declared() -> dict[str, Any]:
    return next(stream.config for stream in topology.STREAMS if stream.name == topology.MISSIONS)


def _batched(records: Iterable[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        if part and (len(part) >= _MAX_BATCH or size + len(record.data) > _MAX_BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record.data)
    if part:
        yield part
