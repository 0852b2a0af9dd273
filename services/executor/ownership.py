"""One ownership of a mission by this process: what it holds, and how it is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from time import monotonic

from msgspec.structs import replace

from contracts.errors import Lost, WriteError
from contracts.lifecycle import Status
from contracts.messages import GoalStatus, Mission
from services.executor.ledger import Ledger
from services.executor.reports.line import Report, Told
from services.executor.runner import DEADLINE_EXCEEDED, DETACHED, HANDLER_TIMEOUT, STOPPED, Outcome, Plan
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
    last_words: dict[str, Told] = field(default_factory=dict)  #: of tries that are over, for their goals' next records
    given_up: list[Report] = field(default_factory=list)  #: of tries whose handlers were asked to stop
    beaten_at: float = field(default_factory=monotonic)
    _performer: asyncio.Task[None] | None = None
    _why: Exception | None = None
    _interruptions: int = 0

    def interrupt(self, why: Exception) -> None:
        """Stop performing, for this reason; once the outcome is being written it is too late.

        A lost fence goes before any other reason: then there is no outcome, and no handler gets time to stop.
        """
        if self.fenced:
            return
        if self._performer is None:
            self._why = why if isinstance(why, Lost) else self._why  # so that no heartbeat follows
            return
        if self._why is None or isinstance(why, Lost):
            self._note_why(why)
            self._interruptions += 1
            self._performer.cancel()

    def lose(self, why: Lost) -> None:
        """Take note that a goal found out that another owner has the mission; its performer ends by that itself."""
        self._note_why(why)

    def _note_why(self, why: Exception) -> None:
        self._why = why
        for report in self.reports.values():
            report.fenced = self.fenced

    @property
    def goes_on(self) -> bool:
        """Whether nobody has asked it to stop."""
        return self._why is None

    @property
    def fenced(self) -> bool:
        """Whether another owner is known to have the mission."""
        return isinstance(self._why, Lost)

    def hurry(self, grace_s: float) -> None:
        """Give running handlers no more than this to stop once they are asked to."""
        for report in self.reports.values():
            report.grace_s = min(report.grace_s, grace_s)

    def phase_of(self, outcome: Outcome) -> str:
        """Return what an outcome says about handlers that were asked to stop."""
        if outcome.status is Status.CANCELLED or outcome.status is Status.FAILED:
            if any(report.detached for report in self.given_up):
                return DETACHED
            if outcome.status is Status.CANCELLED or outcome.reason in {DEADLINE_EXCEEDED, HANDLER_TIMEOUT}:
                return STOPPED
        return ""

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
            for _ in range(self._interruptions):
                self._performer.uncancel()
            raise self._why from None
        finally:
            self._performer = None

    @property
    def has_progressed(self) -> bool:
        """Whether a running goal has news that is worth a record of its own."""
        return any(report.has_progressed for report in self.reports.values())

    def progressed(self, most: int) -> list[Report]:
        """Return the reports with news of running goals, at most so many, those first that waited longest."""
        news = [report for report in self.reports.values() if report.has_progressed]
        return sorted(news, key=lambda report: report.written_at)[:most]

    def told(self, status: GoalStatus) -> GoalStatus:
        """Return a goal's part of its next record, with what its last try said and no record holds yet."""
        said = self.last_words.pop(status.id, None)
        return said.in_status(status) if said else status

    def with_last_words(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what its goal said last; of a mission that was stopped, the one goal that spoke."""
        if not self.last_words:
            return outcome
        goal = outcome.goal
        if goal is None and len(self.last_words) == 1:
            (goal_id,) = self.last_words
            (kind,) = {goal.kind for goal in self.mission.goals if goal.id == goal_id}
            tries = self.plan.tries.get(goal_id, 1)
            goal = GoalStatus(id=goal_id, kind=kind, status=outcome.status.value, attempt=tries)
        return replace(outcome, goal=self.told(goal)) if goal else outcome
