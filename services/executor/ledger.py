"""An attempt's own line of records: written one after the other, each on top of the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from msgspec.structs import replace

from contracts import codec, ids, subjects
from contracts.errors import Lost, MaybeStored, StreamFull
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Failure, GoalStatus, Mission, StatusRecord, status_record
from contracts.questions import ASKING
from services.executor.runner import TOO_LATE, Outcome
from services.executor.standing import Standing
from services.runtime.bus import Bus
from services.runtime.writer import Writer

Append = Coroutine[Any, Any, None]


class Cancelling(Exception):
    """The orchestrator asked this attempt to stop; the fence still holds."""

    def __init__(self, reason: str, error: Failure | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Answered(Exception):
    """A question was answered before its mission could be left waiting: it goes on."""


class Ledger(Standing):
    """Writes the records of one attempt by compare-and-set."""

    def __init__(  # noqa: PLR0913 - an attempt is these
        self, bus: Bus, writer: Writer, mission: Mission, actor: str, *, attempt: int, head: int, first: int = 0
    ) -> None:
        super().__init__(bus, subjects.status(mission.queue, mission.mission_id), attempt=attempt, head=head)
        self.fence = 0
        self._writer = writer
        self._mission = mission
        self._actor = actor
        self._number = first
        self._over = False  #: the record that ends this attempt is written
        self._turn = asyncio.Lock()

    async def claim(self, phase: str = "") -> None:
        """Become the owner: `active` on top of the head, whose sequence is the fence; raises `Lost`."""
        record = self._record(Status.ACTIVE, phase=phase)
        self.head = await self._writer.write(
            self._subject, codec.encode(record), event_id=record.event_id, expected=self.head
        )
        self.fence = self.head

    async def note(self, phase: str, *, reason: str = "", goal: GoalStatus | None = None) -> None:
        """Append an `active` record, however long the broker is away: what is done is not done again for that.

        Raises `Cancelling` when the orchestrator asked us to stop, `Lost` when fenced.
        """
        async with self._turn:
            self._check_wanted(Status.ACTIVE)
            await self._persist(self._record(Status.ACTIVE, phase=phase, reason=reason, goal=goal), _uncut)

    async def mention(self, phase: str, *, reason: str = "", goal: GoalStatus | None = None) -> None:
        """Append an `active` record that is not worth a long wait; raises as `note`, `MaybeStored` and `StreamFull`."""
        async with self._turn:
            self._check_wanted(Status.ACTIVE)
            await _uncut(self._append(self._record(Status.ACTIVE, phase=phase, reason=reason, goal=goal)))

    async def settle(self, outcome: Outcome) -> None:
        """Append the outcome, also on top of a wish to cancel, however long the broker is away.

        Raises `Lost` when fenced.
        """
        async with self._turn:
            await self._persist(
                self._record(
                    outcome.status,
                    phase=outcome.phase,
                    reason=outcome.reason,
                    goal=outcome.goal,
                    error=outcome.error,
                    result=outcome.result,
                )
            )

    async def wait(self, goal: GoalStatus | None) -> None:
        """Append `waiting`, after which nobody owns the mission.

        Raises `Cancelling` or `Answered`, with nothing written, where it must end or can go on; `Lost` when fenced.
        """
        async with self._turn:
            self._check_wanted(Status.WAITING)
            await self._persist(self._record(Status.WAITING, phase=ASKING, goal=goal))

    async def _persist(self, record: StatusRecord, kept: Callable[[Append], Append] = lambda write: write) -> None:
        """Append a record until it stands, each time `kept` from a cancel of whoever waits, or not."""
        pauses = _patience()
        while True:
            try:
                await kept(self._append(record))
            except (MaybeStored, StreamFull):
                await asyncio.sleep(next(pauses))
            else:
                self._over = record.status is not Status.ACTIVE
                return

    def _late(self, record: StatusRecord) -> StatusRecord:
        """Say of an outcome that the wish to stop was heard too late, where it is not what was wished for."""
        wished = record.status is Status.CANCELLED or record.reason == self.cancel_reason
        late = self.cancel_reason and record.status in TERMINAL and not wished
        return replace(record, phase=TOO_LATE) if late else record

    async def look(self) -> None:
        """Read the head from the leader: raises `Lost` when fenced; notes a wish to cancel in `cancel_reason`."""
        if self._turn.locked():  # the write under way finds out by itself, and may take long
            return
        async with self._turn:
            await self._look_at_head()

    async def _append(self, record: StatusRecord) -> None:
        data = codec.encode(self._late(record))
        try:
            self.head = await self._writer.write(self._subject, data, event_id=record.event_id, expected=self.head)
        except MaybeStored:
            self._doubtful.add(data)
            raise
        except Lost:
            await self._append_on_others(record, data)

    async def _append_on_others(self, record: StatusRecord, data: bytes) -> None:
        """Append on top of what others wrote, unless they did that on top of this very record."""
        self._doubtful.add(data)
        await self._stand_on_head()
        if data in self._doubtful:
            self._doubtful.discard(data)
            self._check_wanted(record.status)
            await self._append(record)

    def _check_wanted(self, status: Status) -> None:
        """Refuse a record that is no longer wanted: a wish to cancel leaves only the outcome to be written.

        Who comes after the record that ends the attempt has lost: nothing stands on top of it.
        """
        if self._over:
            raise Lost(self._subject, head_seq=self.head)
        if self.cancel_reason and status not in TERMINAL:
            raise Cancelling(self.cancel_reason, self.cancel_error)
        if self.answers and status is Status.WAITING:
            raise Answered

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


async def _uncut(write: Append) -> None:
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
