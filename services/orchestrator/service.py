"""Wires the orchestrator: three consumers, the sweep and the HTTP door."""

from __future__ import annotations

from contracts.topology import CHAT, MISSIONS, ORCHESTRATOR, SCHEDULES
from services.orchestrator.announcements import Announcements
from services.orchestrator.app import create_app
from services.orchestrator.command_desk import CommandDesk
from services.orchestrator.intake import Intake
from services.orchestrator.mending import Mender
from services.orchestrator.one_at_a_time import OneAtATime
from services.orchestrator.origins import Origins
from services.orchestrator.outcomes import Outcomes, goes_on
from services.orchestrator.room import Room
from services.orchestrator.sweep import Sweep
from services.runtime import streams
from services.runtime.bus import Bus
from services.runtime.chat_door import HTTP_WITHIN_S, ChatDoor
from services.runtime.consumer import Consumer
from services.runtime.health import Health
from services.runtime.http_server import serve_http
from services.runtime.metrics import Metrics
from services.runtime.process import Stop, run_parts
from services.runtime.settings import Settings
from services.runtime.writer import Writer

PORT = 8081
_SLOTS = 2_000


async def serve(settings: Settings, stop: Stop) -> None:
    """Run the orchestrator until `stop`."""
    bus = await Bus.connect(settings, service=ORCHESTRATOR)
    try:
        await streams.apply(bus, settings.queues, settings.lease_s, manage=settings.manage_streams)
        await _run(bus, settings, stop)
    finally:
        await bus.close()


async def _run(bus: Bus, settings: Settings, stop: Stop) -> None:
    metrics, health, origins = Metrics(ORCHESTRATOR), Health(), Origins()
    missions, chat = Writer(bus, MISSIONS), Writer(bus, CHAT)
    announcements = Announcements(bus)
    turns, room = OneAtATime(), Room(bus, health)
    desk = CommandDesk(bus, missions, turns)
    intake = Intake(bus, announcements, desk, missions=missions, chat=chat, origins=origins, room=room)
    sweep = Sweep(bus, Mender(bus, missions, desk, turns, room), metrics, settings)
    outcomes = Outcomes(bus, chat, origins)
    door = ChatDoor(bus, chat, HTTP_WITHIN_S)
    await announcements.open()

    def consumer(stream: str) -> Consumer:
        return Consumer(bus, stream, ORCHESTRATOR, service=ORCHESTRATOR, slots=_SLOTS, metrics=metrics, health=health)

    await run_parts(
        stop,
        bus.watch(stop),
        announcements.follow(stop),
        sweep.run(stop),
        consumer(CHAT).run(intake.on_chat, stop),
        consumer(SCHEDULES).run(intake.on_due, stop),
        consumer(MISSIONS).run(outcomes.on_status, stop, skip=goes_on),
        serve_http(create_app(door, health, metrics, settings), settings, PORT, stop),
    )
