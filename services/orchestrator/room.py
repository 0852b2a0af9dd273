"""Back-pressure: nothing new is proposed into a stream that is nearly full, so that outcomes still fit."""

from __future__ import annotations

from time import monotonic

from contracts.errors import StreamFull
from contracts.topology import MISSIONS
from services.runtime.bus import Bus
from services.runtime.health import Health

FULL_AT = 0.8
_LOOK_EVERY_S = 1.0
_PART = "stream MISSIONS"


class Room:
    """How full MISSIONS is, looked up at most once per second."""

    def __init__(self, bus: Bus, health: Health) -> None:
        self._bus = bus
        self._health = health
        self._problem = ""
        self._next_look = 0.0

    async def check(self) -> None:
        """Raise `StreamFull` while the stream is over `FULL_AT` of its size."""
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + _LOOK_EVERY_S
            await self._look()
        if self._problem:
            raise StreamFull(self._problem)

    async def _look(self) -> None:
        state = await self._bus.stream_state(MISSIONS)
        if state.max_bytes <= 0 or state.bytes <= state.max_bytes * FULL_AT:
            self._problem = ""
            self._health.green(_PART)
            return
        share = state.bytes / state.max_bytes
        self._problem = f"MISSIONS is {share:.0%} full, so nothing new is proposed: raise its max_bytes"
        self._health.red(_PART, self._problem)
