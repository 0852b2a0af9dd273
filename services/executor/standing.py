"""Where an attempt stands in the line of its mission's records: on its own, and on the orchestrator's words to it."""

from __future__ import annotations

from collections.abc import Callable

from contracts import codec, topology
from contracts.errors import ContractError, Lost, MaybeStored
from contracts.lifecycle import Status
from contracts.messages import Answer, Failure
from contracts.questions import ANSWERED
from services.executor.runner import CANCELLING
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Stored


class Standing:
    """What an attempt knows of its line. `head` is the sequence of the last record that it knows."""

    def __init__(self, bus: Bus, subject: str, *, attempt: int, head: int) -> None:
        self.attempt = attempt
        self.head = head
        self.cancel_reason = ""
        self.cancel_error: Failure | None = None  #: what was said with it
        self.answers: list[tuple[str, Answer]] = []  #: by goal id, which came while we are the owner
        self.on_answer: Callable[[], object] = lambda: None
        self._doubtful: set[bytes] = set()  #: what was written and may stand, for all we know
        self._bus = bus
        self._subject = subject

    async def _look_at_head(self) -> None:
        """Catch up where others have written; raises `Lost` where that makes somebody else the owner."""
        head = await self._read_head()
        if head is not None and head.seq != self.head and head.data not in self._doubtful:
            await self._catch_up()

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
            self.cancel_reason, self.cancel_error = record.reason or "user", record.error
        elif record.phase == ANSWERED and record.goal is not None and record.goal.answer is not None:
            self.answers.append((record.goal.id, record.goal.answer))
            self.on_answer()
        else:
            raise Lost(self._subject, head_event_id=record.event_id, head_seq=stored.seq)
        self.head = stored.seq
