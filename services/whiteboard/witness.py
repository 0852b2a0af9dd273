"""What is wrong with the stream, written into the journal as a record of its own, and said in readiness."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog

from services.runtime.health import Health
from services.whiteboard.journal import Journal
from services.whiteboard.record import FORK, GAP, RENEWED
from services.whiteboard.truth import Fork, Gap, Renewed, Verdict

log = structlog.get_logger()

Write = Callable[[str, int, msgspec.Struct], Awaitable[None]]


class Witness:
    """Records verdicts; `write` appends a note and lets everybody see it."""

    def __init__(self, journal: Journal, health: Health, write: Write) -> None:
        self._journal = journal
        self._health = health
        self._write = write

    async def record(self, verdict: Verdict) -> bool:
        """Write a verdict down; return whether the stream may be followed."""
        if isinstance(verdict, Gap):
            await self._gap(verdict)
        elif isinstance(verdict, Renewed):
            await self._renewed(verdict)
        else:
            await self._fork(verdict)
        return not isinstance(verdict, Fork)

    async def _gap(self, gap: Gap) -> None:
        """Write down what the stream lost before it was journalled, and go on behind it."""
        log.error("records_lost", first=gap.first, last=gap.last)
        had_some = self._journal.last_seq > 0
        await self._write(GAP, gap.last, gap)
        if had_some:
            self._health.red("loss", f"the stream lost {gap.first} to {gap.last} before they were journalled")

    async def _renewed(self, renewed: Renewed) -> None:
        """Write down that another stream follows, which begins behind the journal, and go on with it."""
        log.error("stream_renewed", created=renewed.created, first=renewed.first, last=renewed.last)
        await self._write(RENEWED, renewed.last, renewed)
        reason = f"the stream was made anew at {renewed.created}: what it held after {renewed.first - 1} is unknown"
        self._health.red("loss", reason)

    async def _fork(self, fork: Fork) -> None:
        """Write down, once, that this is another stream than the journal's; nothing of it is taken."""
        reason = f"{fork.reason}: move the journal away, or restore the stream"
        if self._journal.position.last_subject != FORK:
            await self._write(FORK, self._journal.last_seq, fork)
        if self._health.reasons().get("stream") != reason:
            log.error("stream_forked", reason=fork.reason)
        self._health.red("stream", reason)
