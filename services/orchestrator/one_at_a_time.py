"""Work on one mission, one after the other within this process.

Between processes the broker decides; but a guard that spans several subjects does not see the other messages of its own
atomic batch, and whatever this process writes at the same time may share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class OneAtATime:
    """Whose turn it is, by mission."""

    def __init__(self) -> None:
        self._busy: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, mission_id: str) -> AsyncIterator[None]:
        """Wait until nothing else works on this mission, and hold that for the inside."""
        while (other := self._busy.get(mission_id)) is not None:
            await asyncio.wait([other])
        done = self._busy[mission_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._busy[mission_id]
            done.set_result(None)
