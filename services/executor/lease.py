"""Leases: one clock for all missions that this executor owns.

Every third of the lease it tells the broker that the work goes on, and reads the head, because a heartbeat has no
answer: a lost fence or a wish to cancel is seen here even when every signal was lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

import structlog

from contracts.errors import Lost, MissionsError
from contracts.messages import GoalStatus
from services.executor.ledger import Cancelling
from services.executor.ownership import Attempt
from services.executor.reports.line import Facts
from services.executor.runner import PROGRESS
from services.runtime.bus import ApiError, Bus
from services.runtime.consumer import IN_PROGRESS
from services.runtime.process import Stop

log = structlog.get_logger()

_TICK_S = 0.25
_PROGRESS_EVERY_S = 1.0
#: Goals of one mission whose progress is written in one turn; the others take the next ones.
_GOALS_AT_ONCE = 3


class Leases:
    """The attempts that this process owns, by mission id."""

    def __init__(self, bus: Bus, lease_s: float) -> None:
        self._bus = bus
        self._lease_s = lease_s
        self._beat_every_s = lease_s / 3
        self._owned: dict[str, Attempt] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """How many missions are owned."""
        return len(self._owned)

    def get(self, mission_id: str) -> Attempt | None:
        """Return the attempt that owns a mission here."""
        return self._owned.get(mission_id)

    def all(self) -> list[Attempt]:
        """Return every attempt that is owned."""
        return list(self._owned.values())

    async def wait_empty(self, seconds: float) -> None:
        """Wait until nothing is owned, at most `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    def hold(self, attempt: Attempt) -> None:
        """Keep the lease of an attempt alive, until it is let go."""
        self._owned[attempt.mission.mission_id] = attempt
        self._empty.clear()

    def let_go(self, attempt: Attempt) -> None:
        """Let a lease end."""
        if self._owned.get(attempt.mission.mission_id) is attempt:
            del self._owned[attempt.mission.mission_id]
        if not self._owned:
            self._empty.set()

    async def keep(self, stop: Stop) -> None:
        """Beat for everything that is owned, until the process stops and nothing is owned any more."""
        while not (stop.is_set() and not self._owned):
            await _pause(stop, min(_TICK_S, self._beat_every_s / 2))
            since = monotonic() - self._beat_every_s
            if due := [attempt for attempt in self._owned.values() if attempt.beaten_at <= since]:
                await self._beat(due)

    async def tell_progress(self, stop: Stop) -> None:
        """Write what handlers said about their progress, once a second, beside the heartbeats and never before them."""
        while not await stop.wait(_PROGRESS_EVERY_S):
            if news := [attempt for attempt in self._owned.values() if attempt.has_progressed]:
                await asyncio.gather(*map(self._write_progress, news))

    async def _beat(self, due: list[Attempt]) -> None:
        """Send every heartbeat first, then read the heads side by side.

        Whoever slept longer than a lease looks first: a late heartbeat would answer for the next owner's delivery.
        """
        now = monotonic()
        overslept = [attempt for attempt in due if now - attempt.beaten_at > self._lease_s]
        for attempt in due:
            attempt.beaten_at = now
            if attempt not in overslept and not attempt.fenced:
                self._bus.answer(attempt.work, IN_PROGRESS)
        await asyncio.gather(*(self.look(attempt) for attempt in due))
        for attempt in overslept:
            if not attempt.fenced:
                self._bus.answer(attempt.work, IN_PROGRESS)

    async def look(self, attempt: Attempt) -> None:
        """Read the head of an owned mission and act on what stands there."""
        try:
            await attempt.ledger.look()
        except Lost as error:
            attempt.interrupt(error)
        except (MissionsError, ApiError) as error:
            log.warning("heartbeat_blind", mission_id=attempt.mission.mission_id, error=str(error))
        if attempt.ledger.cancel_reason:
            attempt.interrupt(Cancelling(attempt.ledger.cancel_reason, attempt.ledger.cancel_error))

    async def _write_progress(self, attempt: Attempt) -> None:
        for report in attempt.progressed(_GOALS_AT_ONCE):
            if report.stopped:  # while another's was written; what it said last goes into its goal's next record
                continue
            told = report.take()
            try:
                await attempt.ledger.mention(PROGRESS, goal=told.in_status(active(report.facts)))
            except Lost as error:
                attempt.interrupt(error)
            except Cancelling as wish:
                report.put_back(told)
                attempt.interrupt(wish)
            except MissionsError as error:
                report.put_back(told)
                log.warning("progress_not_written", mission_id=attempt.mission.mission_id, error=str(error))
            else:
                report.written(told)


def active(facts: Facts) -> GoalStatus:
    """Return what a record says of a goal that runs."""
    return GoalStatus(id=facts.goal_id, kind=facts.kind, status="active", attempt=facts.attempt)


async def _pause(stop: Stop, seconds: float) -> None:
    """Wait a tick; once the process stops, `stop` no longer makes one wait."""
    if stop.is_set():
        await asyncio.sleep(seconds)
    else:
        await stop.wait(seconds)
