"""An attempt's own line of records: written one after the other, each on top of the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from msgspec.structs import replace

from contracts import codec, ids, subjects, topology
from contracts.errors import ContractError, Lost, MaybeStored, StreamFull
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Answer, Failure, GoalStatus, Mission, StatusRecord, status_record
from contracts.questions import ANSWERED, ASKING
from services.executor.runner import CANCELLING, TOO_LATE, Outcome
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Stored
from services.runtime.writer import Writer

Append = Coroutine[Any, Any, None]


class Cancelling(Exception):
    """The orchestrator asked this attempt to stop; the fence still holds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answered(Exception):
    """A question was answered before its mission could be left waiting: it goes on."""


class Ledger:
    """Writes the records of one attempt by compare-and-set. `head` is the sequence of the last record we know."""

    def __init__(  # noqa: PLR0913 - an attempt is these
        self, bus: Bus, writer: Writer, mission: Mission, actor: str, *, attempt: int, head: int, first: int = 0
    ) -> None:
        self.attempt = attempt
        self.head = head
        self.fence = 0
        self.cancel_reason = ""
        self.answers: list[tuple[str, Answer]] = []  #: by goal id, which came while we are the owner
        self.on_answer: Callable[[], object] = lambda: None
        self._doubtful: set[bytes] = set()  #: what was written and may stand, for all we know
        self._bus = bus
        self._writer = writer
        self._mission = mission
        self._actor = actor
        self._subject = subjects.status(mission.queue, mission.mission_id)
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
            head = await self._read_head()
            if head is not None and head.seq != self.head and head.data not in self._doubtful:
                await self._catch_up()

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
            raise Cancelling(self.cancel_reason)
        if self.answers and status is Status.WAITING:
            raise Answered

    async def _stand_on_head(self) -> None:
        """Go on from what stands now; raises `Lost` where that makes somebody else the owner."""
        head = await self._read_head()
        if head is None or head.seq <= self.head:
            raise Lost(self._subject)
        if not self._is_ours(head):
            await self._catch_up()

    def _is_ours(self, stored: Stored) -> bool:
        """Tell a record of ours that had arrived without anybody's word, and stand on it."""
        if stored.data not in self._doubtful:
            return False
        self._doubtful.discard(stored.data)
        self.head = stored.seq
        return True

    async def _read_head(self) -> Stored | None:
        try:
            return await self._bus.head(topology.MISSIONS, self._subject)
        except ApiError as error:
            raise MaybeStored(f"cannot read the head of {self._subject}: {error}") from error

    async def _catch_up(self) -> None:
        """Read what others wrote on top of our line."""
        try:
            following = await self._bus.records(topology.MISSIONS, self._subject, after=self.head)
        except ApiError as error:
            raise MaybeStored(f"cannot read the records of {self._subject}: {error}") from error
        for stored in following:
            if not self._is_ours(stored):
                self._accept(stored)

    def _accept(self, stored: Stored) -> None:
        """Stand on a record that is not ours: only the orchestrator's words to our own attempt leave us the owner."""
        try:
            record = codec.decode_status(stored.data)
        except ContractError:
            record = None
        if record is None or record.attempt != self.attempt or record.status is not Status.ACTIVE:
            raise Lost(self._subject, head_event_id=codec.event_id_of(stored.data), head_seq=stored.seq)
        if record.phase == CANCELLING:
            self.cancel_reason = record.reason or "user"
        elif record.phase == ANSWERED and record.goal is not None and record.goal.answer is not None:
            self.answers.append((record.goal.id, record.goal.answer))
            self.on_answer()
        else:
            raise Lost(self._subject, head_event_id=record.event_id, head_seq=stored.seq)
        self.head = stored.seq

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
