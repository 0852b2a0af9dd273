"""A stack that runs: its parts, our connection to it, and the missions that were spoken of last."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from contracts import topology
from contracts.errors import MissionsError
from missions.client import Client, EventFields
from missions.testing.backend import Backend
from missions.testing.client import MissionsClient
from missions.testing.local_executor import LocalExecutor
from missions.testing.own_queue import forget_queue, new_token
from missions.testing.portal import Portal
from services.runtime.bus import Bus

#: What a killed orchestrator had in hand comes again after this time; in production it is longer.
_REDELIVERY_S = 2
_NANO = 1_000_000_000
#: So many missions are told of when something fails that names none.
_RECENT = 3


class Running:
    """A started backend, and our connection to it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.portal = Portal()
        self.client = Client(backend.nats_url, backend.whiteboard_url, connect_s=10)
        self.recent: deque[str] = deque(maxlen=_RECENT)
        token = new_token()
        own: EventFields = (
            {"conversation": token} if backend.owns_broker else {"conversation": token, "queue": backend.queue}
        )
        self.talk = self.speaking(own, backend.queue)

    def speaking(self, fields: EventFields, queue: str, local: LocalExecutor | None = None) -> MissionsClient:
        """Return a client that says with these fields, and whose missions `local` may do."""
        return MissionsClient(
            self.portal, self.client, self.backend, fields=fields, queue=queue, recent=self.recent, local=local
        )

    def begin(self) -> None:
        """Make drills quick, on a broker that nobody else uses."""
        if self.backend.owns_broker:
            self.portal.call(self._redeliver_soon())

    async def _redeliver_soon(self) -> None:
        await redeliver_soon(await self.client.bus())

    def forget(self, queue: str) -> None:
        """Take a queue off the broker that nobody serves any more."""

        async def forget() -> None:
            await forget_queue(await self.client.bus(), queue)

        with suppress(MissionsError):  # the broker is away
            self.portal.call(forget())

    def end(self) -> None:
        """End all of it, whatever state it is in."""
        try:
            with suppress(MissionsError, OSError):
                self.portal.call(self.client.close())
        finally:
            self.portal.close()
            self.backend.stop()


async def redeliver_soon(bus: Bus) -> None:
    """Let what a killed orchestrator had in hand come again soon."""
    for spec in topology.CONSUMERS:
        if spec.config["ack_policy"] == "explicit":
            config = spec.config | {"ack_wait": _REDELIVERY_S * _NANO}
            await bus.api(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", {"stream_name": spec.stream, "config": config})
