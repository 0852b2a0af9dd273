"""The MISSIONS stream as the whiteboard reads it: from any sequence on, and only while it is the one we know."""

from __future__ import annotations

from time import monotonic

from contracts.topology import MISSIONS, WHITEBOARD
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Incoming, rfc3339
from services.runtime.puller import Puller
from services.whiteboard.journal import Journal
from services.whiteboard.record import FORK
from services.whiteboard.truth import Gap, Known, Verdict, judge

_NOT_FOUND = 404
_FETCH_S = 1.0
#: After a reset, deliveries from before it may still come for so long.
_SETTLES_S = 0.5


class Source:
    """Reads the stream in order; `align` must come first, and after everything that breaks the order."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._puller = Puller(bus, MISSIONS, WHITEBOARD)
        self._reconnects = -1  #: how many there were when the consumer was set last
        self._aligned_at = 0.0

    @property
    def is_aligned(self) -> bool:
        """Whether the next delivery can be the one that was asked for."""
        return self._reconnects == self._bus.reconnects

    @property
    def problem(self) -> str:
        """Why nothing can come now; empty when pulling works."""
        return self._puller.problem

    async def open(self) -> None:
        """Find out that the consumer exists; raises `BrokerError`."""
        await self._puller.open()

    async def close(self) -> None:
        """Stop pulling."""
        await self._puller.close()

    async def fetch(self, most: int) -> list[Incoming]:
        """Return what came, or nothing after a second."""
        return await self._puller.fetch(most, _FETCH_S)

    async def more(self, most: int) -> list[Incoming]:
        """Return what has come meanwhile, without waiting."""
        return await self._puller.more(most) if most > 0 else []

    def wake(self) -> None:
        """Let a fetch that waits return at once."""
        self._puller.arrived.set()

    def misfit(self) -> None:
        """Ask for a new alignment, unless what did not fit may still be from before the last one."""
        if monotonic() > self._aligned_at + _SETTLES_S:
            self._reconnects = -1

    async def align(self, journal: Journal) -> Verdict | None:
        """Look whether the stream is the journal's, and if so let deliveries go on right behind the journal.

        A reset beyond the stream's end would be accepted in silence, so the look comes before it.
        """
        reconnects = self._bus.reconnects
        verdict = await self._judge(journal)
        if verdict is None:
            self._puller.discard()
            await self._bus.reset_consumer(MISSIONS, WHITEBOARD, journal.last_seq + 1)
            self._reconnects = reconnects
            self._aligned_at = monotonic()
        return verdict

    async def compare(self, journal: Journal) -> tuple[int, Verdict | None]:
        """Return the stream's last sequence, exact unlike a count of what is pending, and what is wrong with it."""
        position = journal.position  # first: the stream may only have grown since
        state = await self._bus.stream_state(MISSIONS)
        last = position.last_message
        stored = await self._bus.message(MISSIONS, last.seq) if last and last.seq <= state.last_seq else None
        there = (stored.data, rfc3339(stored.time_ns)) if stored else None
        known = Known(position.last_seq, last, position.last_subject == FORK, position.created)
        return state.last_seq, judge(known, state, there)

    async def _judge(self, journal: Journal) -> Verdict | None:
        last_seq = journal.last_seq
        stream_seq, verdict = await self.compare(journal)
        if verdict is not None or stream_seq == last_seq:
            return verdict
        following = await self._following(last_seq + 1) or stream_seq + 1
        return Gap(last_seq + 1, following - 1) if following > last_seq + 1 else None

    async def _following(self, seq: int) -> int | None:
        """Return the sequence of the first message from `seq` on, or None where there is none."""
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{MISSIONS}", {"seq": seq, "next_by_subj": ">"})
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        return int(answer["message"]["seq"])
