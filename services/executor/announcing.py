"""Announcing the goal kinds of this executor, so that the orchestrator can plan for them."""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from contracts import codec, subjects, topology
from contracts.errors import MissionsError
from services.executor.outside import kind_settings
from services.executor.registry import Registry
from services.runtime.bus import Bus
from services.runtime.health import Health
from services.runtime.process import Stop
from services.runtime.settings import Settings
from services.runtime.writer import Writer

log = structlog.get_logger()

#: Well within the age after which the broker forgets an announcement.
EVERY_S = 600.0
_AGAIN_S = 5.0
PART = "goal kinds"


async def announce(bus: Bus, registry: Registry, settings: Settings, health: Health, stop: Stop) -> None:
    """Announce every kind on every queue, now and every ten minutes, until `stop`; ready once that was done.

    Those that are off are announced as well, so that whoever asks for one learns what it needs.
    """
    off = kind_settings.off(settings)
    writer = Writer(bus, topology.KINDS)
    pause = 0.0
    while not await stop.wait(pause):
        try:
            for queue in settings.queues:
                for handler in registry:
                    spec = replace(handler.announcement(queue), off=off.get(handler.kind, ""))
                    await writer.write(subjects.kind(queue, handler.kind), codec.encode(spec), expected=None)
            health.green(PART)
            pause = EVERY_S
        except MissionsError as error:
            health.red(PART, f"goal kinds are not announced: {error}")
            log.warning("kinds_not_announced", error=str(error))
            pause = _AGAIN_S
