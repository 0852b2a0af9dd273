"""The sweep: the backstop for missions that nobody has, that nobody will be given, and that no schedule ends.

Now and then it reads on in the stream, and looks at those of the open missions that may be lost. Whatever it writes
stands on the very record that it looked at: several sweeps, and an owner that is there after all, are as safe from each
other as any two writers.
"""

from __future__ import annotations

import random

import structlog

from contracts.errors import ContractError, Lost, MissionsError
from contracts.topology import MISSIONS, executor_durable
from services.orchestrator import lost
from services.orchestrator.lost import Limits
from services.orchestrator.mending import Mender
from services.orchestrator.open_missions import OpenMission
from services.orchestrator.walk import Walk
from services.runtime import readers
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import utc
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.readers import Reader
from services.runtime.settings import Settings

log = structlog.get_logger()


class Sweep:
    """Looks for lost missions, again and again."""

    def __init__(self, bus: Bus, mender: Mender, metrics: Metrics, settings: Settings) -> None:
        self._bus = bus
        self._mender = mender
        self._every_s = settings.sweep_every_s
        self._limits = Limits(settings.lease_s, settings.goal_timeout_s)
        self._walk = Walk(bus)
        self._swept = metrics.counter("swept", "Lost missions, by what the sweep did about them", ("did",))
        self._sweeps = metrics.counter("sweeps", "Passes of the sweep, by whether they came to their end", ("outcome",))
        metrics.gauge("sweep_open", "Open missions that the sweep knows").set_function(lambda: len(self._walk.open))

    async def run(self, stop: Stop) -> None:
        """Sweep every so often until `stop`, never in step with other orchestrators."""
        if not self._every_s:
            await stop.wait()
        while not await stop.wait(self._every_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
            try:
                await self._sweep(stop)
            except (MissionsError, ApiError) as error:
                self._sweeps.labels("broken_off").inc()
                log.warning("sweep_broken_off", error=str(error))
            else:
                self._sweeps.labels("done").inc()

    async def _sweep(self, stop: Stop) -> None:
        """Go over all that is open up to some leases ago."""
        state = await self._bus.stream_state(MISSIONS)
        await self._walk.go_on(state, state.at_ns - int(self._limits.silence_s * 1e9), stop)
        queues = {queue: await self._ask_for(queue) for queue in self._walk.open.queues()}
        done_to = {queue: reader.done_to for queue, reader in queues.items() if reader}
        for one in self._walk.open.suspects(done_to, lost.overdue_before(utc(state.at_ns), self._limits)):
            if stop.is_set():
                return
            await self._look_at(one, queues[one.queue], state.at_ns)
        self._walk.rest()

    async def _ask_for(self, queue: str) -> Reader | None:
        return await readers.look(self._bus, MISSIONS, executor_durable(queue))

    async def _look_at(self, one: OpenMission, reader: Reader | None, now_ns: int) -> None:
        found = await self._mender.look(one, reader.done_to if reader else 0, now_ns)
        if found is None:
            self._walk.open.forget(one.mission_id)
            return
        lease_s = reader.lease_s if reader else None
        verdict = lost.verdict(found, self._limits._replace(lease_s=lease_s or self._limits.lease_s))
        if not verdict.did:
            return
        try:
            await self._mender.mend(one, found, verdict)
        except Lost:
            log.info("mission_not_lost", mission_id=one.mission_id)  # it moved on just now, or another sweep was faster
        except ContractError as error:
            log.warning("mission_not_swept", mission_id=one.mission_id, did=verdict.did, error=str(error))
        else:
            self._swept.labels(verdict.did).inc()
