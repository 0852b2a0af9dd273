"""Follows the kinds that executors announce on `kinds.<queue>.<kind>`."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from contracts import codec, subjects
from contracts.errors import ContractError, MissionsError
from contracts.messages import KindSpec
from contracts.topology import KINDS
from services.orchestrator.kinds import Kinds
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Incoming
from services.runtime.process import Stop

log = structlog.get_logger()

REFRESH_S = 30.0


class Announcements:
    """Holds the current `kinds`: read whole at the start and now and then, changed live in between."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._specs: dict[str, KindSpec] = {}
        self._meanwhile: dict[str, KindSpec] = {}  #: announced since the last reading began
        self.kinds = Kinds()

    async def open(self) -> None:
        """Listen, then read what is announced already: whoever plans after this misses nothing."""
        await self._bus.subscribe(subjects.KINDS_ALL, self._on_announcement)
        await self.load()

    async def follow(self, stop: Stop, refresh_s: float = REFRESH_S) -> None:
        """Read everything anew now and then until `stop`: an announcement that was lost is found."""
        while not await stop.wait(refresh_s):
            await self._refresh()

    async def load(self) -> None:
        """Read all kinds that are announced now; what is announced meanwhile is newer than what was read."""
        self._meanwhile = {}
        stored = await self._bus.last_per_subject(KINDS, subjects.KINDS_ALL)
        self._set(_decoded((message.subject, message.data) for message in stored) | self._meanwhile)

    async def _refresh(self) -> None:
        try:
            await self.load()
        except (MissionsError, ApiError) as error:
            log.warning("kinds_not_refreshed", error=str(error))

    async def _on_announcement(self, incoming: Incoming) -> None:
        announced = _decoded([(incoming.subject, incoming.data)])
        self._meanwhile |= announced
        self._set(self._specs | announced)

    def _set(self, specs: dict[str, KindSpec]) -> None:
        if specs != self._specs:
            self._specs = specs
            self.kinds = Kinds.of(specs.values())
            log.info("kinds_changed", kinds=len(self.kinds.queues))


def _decoded(announcements: Iterable[tuple[str, bytes]]) -> dict[str, KindSpec]:
    """Decode announcements by subject; one that is malformed or stands on another's subject is left out."""
    found: dict[str, KindSpec] = {}
    for subject, data in announcements:
        try:
            spec = codec.decode_kind(data)
        except ContractError as error:
            log.warning("announcement_ignored", subject=subject, reason=str(error))
            continue
        if subjects.kind(spec.queue, spec.kind) == subject:
            found[subject] = spec
        else:
            log.warning("announcement_ignored", subject=subject, reason="the body names another kind or queue")
    return found
