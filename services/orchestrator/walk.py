"""Reading the whole stream once, in order and at leisure, for what is open: the eyes of the sweep."""

from __future__ import annotations

from itertools import takewhile
from time import monotonic

from contracts.subjects import RECORDS_ALL
from contracts.topology import MISSIONS
from services.orchestrator.open_missions import OpenMissions
from services.runtime.bus import Bus, StreamState
from services.runtime.process import Stop

_PAGE = 500
#: The share of the time in which it reads; in the rest the process is there for others.
_SHARE = 0.1
_LONGEST_PAUSE_S = 1.0
#: More open missions are not remembered at once; what does not fit is read again in a later lap.
MOST_OPEN = 50_000


class Walk:
    """How far the stream was read, and what was open there."""

    def __init__(self, bus: Bus) -> None:
        self.open = OpenMissions()
        self._bus = bus
        self._created = ""
        self._next = 1
        self._at_end = False
        self._again_from = 0  #: where the next lap begins, because something open there was not kept in mind

    async def go_on(self, state: StreamState, until_ns: int, stop: Stop) -> None:
        """Read on up to what was written before `until_ns`, as long as there is room for what is open."""
        self._begin(state)
        while not stop.is_set() and len(self.open) < MOST_OPEN:
            began = monotonic()
            page = await self._bus.page(MISSIONS, RECORDS_ALL, self._next, _PAGE)
            old = list(takewhile(lambda stored: stored.time_ns < until_ns, page))
            for stored in old:
                self.open.note(stored)
                self._next = stored.seq + 1
            if not old or len(old) < len(page):
                self._at_end = True
                return
            await stop.wait(min((monotonic() - began) * (1 / _SHARE - 1), _LONGEST_PAUSE_S))

    def _begin(self, state: StreamState) -> None:
        """Start over where the stream is another one than before."""
        self._at_end = False
        if state.created != self._created or state.last_seq + 1 < self._next:
            self._created, self._next, self._again_from = state.created, 1, 0
            self.open.drop_all()

    def rest(self) -> None:
        """After all that is open was looked at: make room where there is none, or begin the next lap at the end."""
        if len(self.open) >= MOST_OPEN:
            self._again_from = self._again_from or self.open.first_seq
            self.open.drop_all()
        elif self._at_end and self._again_from:
            self._next, self._again_from = self._again_from, 0
            self.open.drop_all()
