"""Work on one mission, one after the other within this process.

Between processes the broker decides; but a guard that spans several subjects does not see the other messages of its own
atomic batch, and whatever this process writes at the same time may share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class OneAtATime:
    """Whose turn it is, by mission."""

    def __init__(self) -> None:
        self._busy: dict[str, asyncio.Future[None]] = {}

    async def do(self, mission_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do this once nothing else works on the mission, and let nothing else begin meanwhile."""
        while (other := self._busy.get(mission_id)) is not None:
            await asyncio.wait([other])
        done = self._busy[mission_id] = asyncio.get_running_loop().create_future()
        try:
            return await work()
        finally:
            del self._busy[mission_id]
            done.set_result(None)
