"""Removing missions that are long over: what their goals kept, their proposals, and last their records.

The order makes it safe to be cut off anywhere: a mission is found by its status records, which go last. A record may
only go once its chat event cannot come again, for without a head the same event would make the same mission once more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from contracts import artifacts, codec, subjects, topology
from contracts.errors import ContractError, TopologyError
from contracts.lifecycle import TERMINAL
from contracts.messages import StatusRecord
from services.runtime.bus import Bus
from services.runtime.incoming import Stored
from services.runtime.object_meta import Meta, meta_of

log = structlog.get_logger()

_NANO = 1_000_000_000
wall_clock = time.time
#: An object or a chunk that is younger may belong to an upload that still goes on.
ORPHAN_AFTER_S = 86_400.0


@dataclass
class Pruned:
    """What was removed, or would be."""

    missions: int = 0
    artifacts: int = 0
    orphans: int = 0  #: objects and cut-off uploads that no record names
    bytes: int = 0
    unread: int = 0  #: missions that are old enough, but that the whiteboard or the orchestrator has not read yet


@dataclass
class _Kept:
    """The objects of one mission."""

    metas: list[tuple[Stored, Meta]] = field(default_factory=list)


class Pruning:
    """Removes what is older than `older_than_s`, which is never less than chat events are kept."""

    def __init__(self, bus: Bus, older_than_s: float, *, dry_run: bool = False, even_unread: bool = False) -> None:
        self._bus = bus
        self._older_than_s = older_than_s
        self._dry_run = dry_run
        self._even_unread = even_unread
        self._now = wall_clock()
        self._foreign: set[str] = set()  #: chunks of objects that somebody else put into the bucket
        self.done = Pruned()

    async def run(self) -> Pruned:
        """Remove old missions, then what no record names; may be run again at any time."""
        await self._look_at_ages()
        read = await self._read_up_to()
        kept = await self._kept_objects()
        for subject in await _subjects(self._bus, topology.MISSIONS, subjects.STATUS_ALL):
            await self._look_at_mission(subject, read, kept)
        for mission_id, objects in kept.items():
            await self._look_at_objects(mission_id, objects)
        await self._look_at_chunks()
        return self.done

    async def _look_at_ages(self) -> None:
        """Never remove a mission whose chat event may be delivered again."""
        for stream in (topology.CHAT, topology.SCHEDULES):
            age = (await self._bus.api(f"STREAM.INFO.{stream}"))["config"].get("max_age", 0)
            if not age:
                raise TopologyError(
                    f"{stream} keeps chat events for ever, so none of their missions may go: set max_age"
                )
            self._older_than_s = max(self._older_than_s, age / _NANO)

    async def _read_up_to(self) -> int:
        """Return the last sequence that every reader of records has got."""
        if self._even_unread:
            return 2**63
        told = await self._bus.api(f"CONSUMER.INFO.{topology.MISSIONS}.{topology.ORCHESTRATOR}")
        shown = await self._bus.api(f"CONSUMER.INFO.{topology.MISSIONS}.{topology.WHITEBOARD}")
        return min(int(told["ack_floor"]["stream_seq"]), int(shown["delivered"]["stream_seq"]))

    async def _look_at_mission(self, subject: str, read: int, kept: dict[str, _Kept]) -> None:
        head = await self._bus.head(topology.MISSIONS, subject)
        if head is None or not self._is_over(head) or self._age(head) < self._older_than_s:
            return
        if head.seq > read:
            self.done.unread += 1
            return
        _, queue, mission_id = subjects.parse_record(subject)
        for stored, meta in kept.pop(mission_id, _Kept()).metas:
            await self._remove_object(stored, meta)
            self.done.artifacts += 1
        await self._purge(topology.MISSIONS, subjects.proposed(queue, mission_id))
        await self._purge(topology.MISSIONS, subject)
        self.done.missions += 1

    async def _look_at_objects(self, mission_id: str, kept: _Kept) -> None:
        """Remove the objects of a mission that is over which none of its records names."""
        old = [(stored, meta) for stored, meta in kept.metas if self._age(stored) >= ORPHAN_AFTER_S]
        if not old:
            return
        records = await self._records(mission_id)
        if records and records[-1].status not in TERMINAL:
            return
        named = {str(name) for record in records for name in names_in(record)}
        for stored, meta in old:
            if meta.name not in named:
                await self._remove_object(stored, meta)
                self.done.orphans += 1

    async def _records(self, mission_id: str) -> list[StatusRecord]:
        head = await self._bus.head(topology.MISSIONS, subjects.status("*", mission_id))
        stored = await self._bus.records(topology.MISSIONS, head.subject) if head else []
        return list(_readable(stored))

    async def _look_at_chunks(self) -> None:
        """Remove what uploads left that were cut off before they said what it was."""
        named = {meta.nuid for kept in (await self._kept_objects()).values() for _, meta in kept.metas}
        named |= self._foreign
        for subject in await _subjects(self._bus, topology.ARTIFACTS, subjects.ARTIFACT_CHUNKS_ALL):
            if subject.rpartition(".")[2] in named:
                continue
            last = await self._bus.head(topology.ARTIFACTS, subject)
            if last is not None and self._age(last) >= ORPHAN_AFTER_S:
                await self._purge(topology.ARTIFACTS, subject)
                self.done.orphans += 1

    async def _kept_objects(self) -> dict[str, _Kept]:
        """Return the objects by mission; what somebody else put into the bucket is left alone."""
        found: dict[str, _Kept] = {}
        for subject in await _subjects(self._bus, topology.ARTIFACTS, subjects.ARTIFACT_METAS_ALL):
            stored = await self._bus.head(topology.ARTIFACTS, subject)
            meta = meta_of(stored) if stored else None
            if stored is None or meta is None:
                continue
            if name := artifacts.parse_object_name(meta.name):
                found.setdefault(name.mission_id, _Kept()).metas.append((stored, meta))
            else:
                self._foreign.add(meta.nuid)
        return found

    async def _remove_object(self, stored: Stored, meta: Meta) -> None:
        """Remove an object: first what says that it is there, then its chunks."""
        self.done.bytes += meta.size
        await self._purge(topology.ARTIFACTS, stored.subject)
        await self._purge(topology.ARTIFACTS, subjects.artifact_chunks(meta.nuid))

    async def _purge(self, stream: str, subject: str) -> None:
        if not self._dry_run:
            await self._bus.api(f"STREAM.PURGE.{stream}", {"filter": subject})

    def _age(self, stored: Stored) -> float:
        return self._now - stored.time_ns / _NANO

    @staticmethod
    def _is_over(head: Stored) -> bool:
        try:
            return codec.decode_status(head.data).status in TERMINAL
        except ContractError:
            return False


def names_in(record: StatusRecord) -> Iterable[artifacts.ObjectName]:
    """Yield the names of the objects that a record speaks of."""
    goal = record.goal
    if goal is None:
        return
    results = [artifacts.claimed(result) for result in (goal.result, record.result)]
    for artifact in (*goal.artifacts, *[result for result in results if result]):
        yield artifacts.object_name(record.mission_id, goal.id, artifact)


def _readable(stored: list[Stored]) -> Iterable[StatusRecord]:
    for one in stored:
        try:
            yield codec.decode_status(one.data)
        except ContractError:
            log.warning("record_unreadable", subject=one.subject, seq=one.seq)


async def _subjects(bus: Bus, stream: str, subject_filter: str) -> list[str]:
    """Return the subjects of a stream that match; all at once, as removing some would shift the pages."""
    found: list[str] = []
    while True:
        info = await bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter, "offset": len(found)})
        page = info["state"].get("subjects") or {}
        found += page
        if not page or len(found) >= info.get("total", 0):
            return found
