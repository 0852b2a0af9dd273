"""Checkpoints: what a handler saves becomes a record at once, in its order among the records of its goal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from contracts import codec
from contracts.errors import Lost, MaybeStored, StreamFull, WriteError
from contracts.messages import GoalStatus
from services.executor import runner
from services.executor.ledger import Cancelling
from services.executor.ownership import Attempt
from services.executor.reports.line import Report
from services.executor.reports.saves import NotSaved, Save, settle
from services.runtime.writer import pauses

#: How long a checkpoint waits for a broker that is away; the time of the try ends it as well.
_PATIENCE_S = 60.0


class Checkpoints:
    """Writes the checkpoints of one try. Of those that wait together only the last is written: it is what counts."""

    def __init__(self, report: Report, attempt: Attempt) -> None:
        report.saves.wake = self._wake
        self._report = report
        self._attempt = attempt
        self._loop = asyncio.get_running_loop()
        self._writing: asyncio.Task[None] | None = None

    async def written(self) -> None:
        """Wait until all that was saved is written, or cannot be."""
        self._begin()
        if self._writing is not None:
            await self._writing

    def end(self) -> None:
        """Refuse what was not written and whatever follows: the try is over."""
        self._report.stop()
        self._report.saves.wake = _nobody  # or both would live until the garbage collector finds the circle
        if self._writing is not None:
            self._writing.cancel()

    def _wake(self) -> None:
        """Begin on the service's loop; called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the executor has ended; so will the process
            self._report.stop()

    def _begin(self) -> None:
        if self._writing is None and (saves := self._report.saves.take()):
            self._writing = self._loop.create_task(self._write(saves))

    async def _write(self, saves: list[Save]) -> None:
        """Write, as long as there is something to write; whoever saves after the last look wakes it again."""
        try:
            while saves:
                await self._write_last(saves)
                saves = self._report.saves.take()
        finally:
            settle(saves, NotSaved("this try is over"))
            self._writing = None

    async def _write_last(self, saves: list[Save]) -> None:
        facts = self._report.facts
        goal = GoalStatus(
            id=facts.goal_id, kind=facts.kind, status="active", attempt=facts.attempt, checkpoint=saves[-1][0].value
        )
        error = await self._noted(goal)
        if error is None:
            self._attempt.plan.checkpoints[facts.goal_id] = codec.decode_any(bytes(saves[-1][0].value))
        settle(saves, NotSaved(str(error)) if error else None)

    async def _noted(self, goal: GoalStatus) -> WriteError | Cancelling | None:
        """Write the record, also through a time without broker; return why not, having stopped what must stop."""
        waits = pauses(_PATIENCE_S)
        while True:
            try:
                await self._attempt.ledger.mention(runner.CHECKPOINT, goal=goal)
            except (MaybeStored, StreamFull) as error:
                if not await _paused(waits):
                    return error
            except (Lost, Cancelling) as error:
                self._attempt.interrupt(error)
                return error
            else:
                return None


def _nobody() -> None:
    """Wake nobody: the try is over."""


async def _paused(waits: Iterator[float]) -> bool:
    pause = next(waits, None)
    if pause is not None:
        await asyncio.sleep(pause)
    return pause is not None
