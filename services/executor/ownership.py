"""One ownership of a mission by this process: what it holds, and how it is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from contracts.errors import WriteError
from contracts.messages import GoalStatus, Mission
from services.executor.ledger import Ledger
from services.executor.line import Report
from services.executor.runner import Outcome, Plan
from services.runtime.incoming import Incoming


class Released(WriteError):
    """This process stops: the mission goes back to the queue without an outcome."""


@dataclass
class Attempt:
    """One ownership of a mission by this process."""

    mission: Mission
    work: Incoming
    ledger: Ledger
    plan: Plan
    reports: dict[str, Report] = field(default_factory=dict)  #: of the goals that run now, by goal id
    beaten_at: float = field(default_factory=monotonic)
    _performer: asyncio.Task[None] | None = None
    _why: Exception | None = None

    def interrupt(self, why: Exception) -> None:
        """Stop performing, for this reason; once the outcome is being written it is too late."""
        if self._performer is not None and self._why is None:
            self._why = why
            self._performer.cancel()

    @property
    def goes_on(self) -> bool:
        """Whether nobody has asked it to stop."""
        return self._why is None

    def interrupt_if_fenced(self, head: int) -> None:
        """Look at once whether a head that is not ours took the mission away; the next beat would tell as well."""
        if head != self.ledger.head:
            self.beaten_at = float("-inf")

    async def interruptible(self, work: Awaitable[Outcome]) -> Outcome:
        """Await `work`; an interruption of it becomes its reason, raised, and any other cancellation passes."""
        self._performer = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError:
            if self._why is None or self._performer is None:
                raise
            self._performer.uncancel()
            raise self._why from None
        finally:
            self._performer = None

    def progressed(self) -> Iterator[GoalStatus]:
        """Yield what running goals said since the last call."""
        for report in list(self.reports.values()):
            if said := report.take():
                yield said
