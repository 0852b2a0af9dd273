"""Why nothing happens to a mission: said to whoever waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts import topology
from contracts.errors import MissionsError
from missions.cli.output import talk
from services.runtime.readers import look

if TYPE_CHECKING:
    from missions.records import Record
    from services.runtime.bus import Bus

_SILENT_AFTER_S = 3.0


class Silence:
    """Watches that the first records come; explains, once, when they do not.

    `unserved`: that nobody serves the queue was said already.
    """

    def __init__(self, bus: Bus, *, unserved: bool = False) -> None:
        self._bus = bus
        self._unserved = unserved
        self._last: Record | None = None
        self._proposed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._explain())

    def heard(self, record: Record) -> None:
        """Note a record; the first one that is no proposal ends the watch."""
        self._last = record
        self._proposed.set()
        if record.status != "proposed":
            self.end()

    def end(self) -> None:
        """Stop watching."""
        self._task.cancel()

    async def _explain(self) -> None:
        """Say what is missing: after three seconds for the proposal, then for its start."""
        for _ in range(1 if self._unserved else 2):
            await asyncio.sleep(_SILENT_AFTER_S)
            if self._unserved and self._last is not None:
                return
            try:
                talk(await self._reason())
            except MissionsError:
                return  # the broker tells nothing: the caller's own errors say so
            await self._proposed.wait()

    async def _reason(self) -> str:
        if self._last is None:
            reader = await look(self._bus, topology.CHAT, topology.ORCHESTRATOR)
            if reader is None or not reader.alive:
                return "Nobody reads chat events yet: start an orchestrator (missions up, or missions orchestrator)"
            return f"The orchestrator has {reader.lag} chat events to read first"
        queue = self._last.subject.split(".")[2]
        reader = await look(self._bus, topology.MISSIONS, topology.executor_durable(queue))
        if reader is None or not reader.alive:
            return nobody_serves(queue, reader.owned if reader else 0)
        return f"The executors of the queue {queue} are busy: {reader.owned} missions running, {reader.pending} waiting"


def nobody_serves(queue: str, owned: int = 0) -> str:
    """Return the words for a queue without executors; `owned` missions wait for the end of their leases."""
    owners = f" ({owned} missions are owned)" if owned else ""
    return f"Nobody serves the queue {queue} now{owners}: start an executor (missions executor --queues {queue})"
