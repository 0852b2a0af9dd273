"""Turns: at most so many tries of a kind, or of a kind and key, at once in this process; first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

#: Who waits longer than this for its turn says so.
PATIENCE_S = 1.0

Turn = asyncio.Future[None]


@dataclass
class _Line:
    """Those of one key: how many may still run, and who waits."""

    free: int
    waiting: deque[Turn] = field(default_factory=deque)
    users: int = 0

    def enter(self) -> Turn:
        """Stand in line; the turn is there once it is done."""
        turn: Turn = asyncio.get_running_loop().create_future()
        if self.free:
            self.free -= 1
            turn.set_result(None)
        else:
            self.waiting.append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """Give the turn to the next one, or leave the line before it came."""
        if turn.cancelled() or not turn.done():
            with suppress(ValueError):  # who is cancelled may have been passed over already
                self.waiting.remove(turn)
            return
        while self.waiting:
            following = self.waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self.free += 1


class Turns:
    """The lines of all kinds and keys of which somebody runs or waits."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line] = {}

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    @asynccontextmanager
    async def turn(self, kind: str, key: str, most: int, on_wait: Callable[[], Awaitable[None]]) -> AsyncIterator[bool]:
        """Wait for a turn and hold it for the inside, which is told whether that took long enough to call `on_wait`.

        Cancelling the wait leaves the line. A line is forgotten with its last user.
        """
        line = self._lines.setdefault((kind, key), _Line(most))
        line.users += 1
        turn = line.enter()
        try:
            yield await _come(turn, on_wait)
        finally:
            line.leave(turn)
            line.users -= 1
            if not line.users:
                del self._lines[kind, key]


async def _come(turn: Turn, on_wait: Callable[[], Awaitable[None]]) -> bool:
    """Wait for a turn; return whether that took long."""
    if turn.done():
        return False
    await asyncio.wait({turn}, timeout=PATIENCE_S)
    if turn.done():
        return False
    await on_wait()
    await turn
    return True
