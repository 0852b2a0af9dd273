"""Records that nobody can understand: counted, logged, and put whole to the dead letters."""

from __future__ import annotations

import structlog

from contracts import topology
from contracts.errors import WriteError
from services.runtime import deadletters
from services.runtime.bus import ApiError, Bus
from services.runtime.metrics import Metrics
from services.whiteboard.record import Record

log = structlog.get_logger()


class Unreadable:
    """Points such records out; they are in the journal whatever becomes of this."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._count = metrics.counter("whiteboard_unreadable", "Records that nobody can understand")

    async def point_out(self, records: list[tuple[Record, str]]) -> None:
        """Tell of records and why each cannot be understood.

        The first that the broker does not take ends it: no batch waits for one timeout after the other.
        """
        self._count.inc(len(records))
        for record, why in records:
            log.warning("record_unreadable", seq=record.seq, subject=record.subject, reason=why)
        for number, (record, why) in enumerate(records):
            try:
                await self._dead_letter(record, why)
            except (ApiError, WriteError) as error:
                left = len(records) - number
                log.warning("dead_letters_not_stored", first_seq=record.seq, records=left, error=str(error))
                return

    async def _dead_letter(self, record: Record, why: str) -> None:
        await deadletters.keep(
            self._bus,
            topology.WHITEBOARD,
            stream=topology.MISSIONS,
            seq=record.seq,
            subject=record.subject,
            data=record.data,
            reason=why,
        )
