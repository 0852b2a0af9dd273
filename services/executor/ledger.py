"""An attempt's own line of records: written one after the other, each on top of the last."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from contracts import codec, ids, subjects, topology
from contracts.errors import ContractError, Lost, MaybeStored, StreamFull
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Failure, GoalStatus, Mission, StatusRecord, status_record
from services.executor.runner import CANCELLING, Outcome
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Stored
from services.runtime.writer import Writer


class Cancelling(Exception):
    """The orchestrator asked this attempt to stop; the fence still holds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Ledger:
    """Writes the records of one attempt by compare-and-set. `head` is the sequence of the last record we know."""

    def __init__(  # noqa: PLR0913 - an attempt is these
        self, bus: Bus, writer: Writer, mission: Mission, actor: str, *, attempt: int, head: int, first: int = 0
    ) -> None:
        self.attempt = attempt
        self.head = head
        self.fence = 0
        self.cancel_reason = ""
        self._doubtful = b""  #: what was written last without an answer
        self._bus = bus
        self._writer = writer
        self._mission = mission
        self._actor = actor
        self._subject = subjects.status(mission.queue, mission.mission_id)
        self._number = first
        self._turn = asyncio.Lock()

    async def claim(self, phase: str = "") -> None:
        """Become the owner: `active` on top of the head, whose sequence is the fence; raises `Lost`."""
        record = self._record(Status.ACTIVE, phase=phase)
        self.head = await self._writer.write(
            self._subject, codec.encode(record), event_id=record.event_id, expected=self.head
        )
        self.fence = self.head

    async def note(
        self, phase: str, *, reason: str = "", goal: GoalStatus | None = None, error: Failure | None = None
    ) -> None:
        """Append an `active` record; raises `Cancelling` when the orchestrator asked us to stop, `Lost` when fenced."""
        async with self._turn:
            if self.cancel_reason:
                raise Cancelling(self.cancel_reason)
            record = self._record(Status.ACTIVE, phase=phase, reason=reason, goal=goal, error=error)
            await _uncut(self._append(record))

    async def settle(self, outcome: Outcome) -> None:
        """Append the outcome, also on top of a wish to cancel; raises `Lost` when fenced.

        Does not give up while the broker is away: what a handler worked for is worth the wait, and a repeat is safe.
        """
        async with self._turn:
            record = self._record(
                outcome.status, reason=outcome.reason, goal=outcome.goal, error=outcome.error, result=outcome.result
            )
            pauses = _patience()
            while True:
                try:
                    await self._append(record)
                except Cancelling:
                    continue
                except (MaybeStored, StreamFull):
                    await asyncio.sleep(next(pauses))
                    continue
                return

    async def look(self) -> None:
        """Read the head from the leader: raises `Lost` when fenced; notes a wish to cancel in `cancel_reason`."""
        if self._turn.locked():  # the write under way finds out by itself, and may take long
            return
        async with self._turn:
            head = await self._read_head()
            if head is not None and head.seq != self.head and head.data != self._doubtful:
                self._accept(head)

    async def _append(self, record: StatusRecord) -> None:
        data = codec.encode(record)
        try:
            self.head = await self._writer.write(self._subject, data, event_id=record.event_id, expected=self.head)
        except MaybeStored:
            self._doubtful = data
            raise
        except Lost:
            head = await self._read_head()
            if head is None:
                raise
            if head.data == self._doubtful:  # the write nobody could tell of had arrived
                self.head, self._doubtful = head.seq, b""
                await self._append(record)
                return
            self._accept(head)
            raise Cancelling(self.cancel_reason) from None

    async def _read_head(self) -> Stored | None:
        try:
            return await self._bus.head(topology.MISSIONS, self._subject)
        except ApiError as error:
            raise MaybeStored(f"cannot read the head of {self._subject}: {error}") from error

    def _accept(self, head: Stored) -> None:
        """Stand on a head that is not ours: only the wish to cancel our own attempt leaves us the owner."""
        try:
            record = codec.decode_status(head.data)
        except ContractError:
            record = None
        if record is None or record.attempt != self.attempt or record.phase != CANCELLING or record.status in TERMINAL:
            raise Lost(self._subject, head_event_id=codec.event_id_of(head.data), head_seq=head.seq)
        self.head = head.seq
        self.cancel_reason = record.reason or "user"

    def _record(
        self,
        status: Status,
        *,
        phase: str = "",
        reason: str = "",
        goal: GoalStatus | None = None,
        error: Failure | None = None,
        result: object = None,
    ) -> StatusRecord:
        self._number += 1
        return status_record(
            event_id=ids.record_id(self._mission.mission_id, self.attempt, self._number),
            mission_id=self._mission.mission_id,
            status=status,
            actor=self._actor,
            attempt=self.attempt,
            phase=phase,
            reason=reason,
            goal=goal,
            result=result,
            error=error,
            causation_id=self._mission.causation_id,
        )


async def _uncut(write: Coroutine[Any, Any, None]) -> None:
    """Let a write end even when its caller is cancelled: an attempt must know where its own line stands."""
    writing = asyncio.ensure_future(write)
    cancelled: asyncio.CancelledError | None = None
    while not writing.done():
        try:
            await asyncio.wait({writing})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    writing.result()


def _patience() -> Iterator[float]:
    """Yield pauses without end, 0.1 s to 5 s."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 2, 5.0)
