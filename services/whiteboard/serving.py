"""What the broker says about the executors of a queue, for `why`. Asked at most once a second for each queue."""

from __future__ import annotations

import asyncio
from time import monotonic

from contracts import topology
from contracts.errors import MissionsError
from services.runtime.bus import ApiError, Bus
from services.runtime.readers import Reader, look
from services.whiteboard.facts import Serving

_FRESH_S = 1.0
_MOST_QUEUES = 1_000


class Executors:
    """Asks the broker about the consumer of a queue; what goes wrong is said in the answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._asked: dict[str, tuple[float, asyncio.Future[Serving]]] = {}

    async def serving(self, queue: str) -> Serving:
        """Return who serves a queue; all who ask while the broker is asked get the one answer."""
        asked_at, answer = self._asked.get(queue, (0.0, None))
        if answer is None or (answer.done() and monotonic() > asked_at + _FRESH_S):
            if len(self._asked) >= _MOST_QUEUES:
                self._asked.clear()
            answer = asyncio.ensure_future(self._ask(queue))
            self._asked[queue] = monotonic(), answer
        return await asyncio.shield(answer)

    async def _ask(self, queue: str) -> Serving:
        try:
            return _serving(await look(self._bus, topology.MISSIONS, topology.executor_durable(queue)))
        except (ApiError, MissionsError) as error:
            return Serving(problem=f"the broker does not say who serves the queue: {error}")


def _serving(reader: Reader | None) -> Serving:
    if reader is None:
        return Serving(exists=False)
    return Serving(
        alive=reader.alive,
        asking=reader.waiting,
        pending=reader.pending,
        owned=reader.owned,
        redelivered=reader.redelivered,
        lease_s=reader.lease_s,
        done_to=reader.done_to,
    )
