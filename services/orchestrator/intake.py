"""A chat event becomes a proposal and a reply: the hot path of the orchestrator."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import structlog
from msgspec.structs import replace

from contracts import codec, subjects
from contracts import headers as names
from contracts.errors import ContractError, Lost
from contracts.messages import ChatEvent, Command, Mission
from contracts.topology import MISSIONS
from services.orchestrator import deadlines, planner, replies, retrying, schedules
from services.orchestrator.announcements import Announcements
from services.orchestrator.command_desk import CommandDesk
from services.orchestrator.kinds import Kinds
from services.orchestrator.one_at_a_time import OneAtATime
from services.orchestrator.origins import Origins
from services.orchestrator.planners import spoken
from services.orchestrator.room import Room
from services.orchestrator.verdict import NotDone, Refused
from services.runtime.bus import Bus
from services.runtime.incoming import Incoming, utc
from services.runtime.writer import Writer

log = structlog.get_logger()


class Intake:
    """Handles one chat event at a time, many side by side; returns when all that follows from it is stored."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        bus: Bus,
        announcements: Announcements,
        desk: CommandDesk,
        *,
        missions: Writer,
        chat: Writer,
        origins: Origins,
        room: Room,
    ) -> None:
        self._bus = bus
        self._announcements = announcements
        self._desk = desk
        self._missions = missions
        self._chat = chat
        self._origins = origins
        self._room = room
        self._turns = OneAtATime()

    async def on_chat(self, incoming: Incoming) -> None:
        """Handle what came through the door; raises `ContractError` for what cannot be understood."""
        event = chat_event(incoming)
        command = event.command or (spoken.command_of(event.text) if event.text and not event.goals else None)
        if command is None:
            await self._propose(event, incoming)
        elif isinstance(command, Refused):
            await self._refuse(event, command, incoming)
        elif command.kind == "expire":
            raise ContractError("a mission expires by its own schedule; use the command cancel")
        else:
            await self._command(event, command, incoming)

    async def _command(self, event: ChatEvent, command: Command, incoming: Incoming) -> None:
        """Do what a person commands, or tell them why not."""
        try:
            if command.kind == "retry":
                await self._retry(event, command, incoming)
            else:
                await self._desk.carry_out(event, command, deliveries=incoming.deliveries)
        except NotDone as error:
            if command.kind == "cancel" and event.command is not None:
                raise  # a program's, which waits for no reply
            await self._refuse(event, error.refused, incoming)

    async def _retry(self, event: ChatEvent, command: Command, incoming: Incoming) -> None:
        """Propose the goals of a mission once more."""
        await self._room.check()
        old = codec.decode_mission((await self._desk.proposal(command.mission_id, incoming.deliveries)).data)
        head = await self._desk.head(old.queue, old.mission_id)
        at = stored_at(incoming)
        await self._begin(event, retrying.mission(event, old, head, now=at), at)

    async def _refuse(self, event: ChatEvent, refused: Refused, incoming: Incoming) -> None:
        """Make a refusal visible as a mission of its own, which ends as it begins."""
        await self._room.check()
        if event.command is not None and not event.title:
            event = replace(event, title=f"{event.command.kind} {event.command.mission_id}")
        await self._begin(event, refused, stored_at(incoming))

    async def on_due(self, incoming: Incoming) -> None:
        """Handle what a schedule fired."""
        event = due_event(incoming)
        if event.command is None:
            await self._propose(event, incoming)
        else:
            await self._desk.carry_out(event, event.command, deliveries=incoming.deliveries)

    async def _propose(self, event: ChatEvent, incoming: Incoming) -> None:
        """Make a mission of what a chat event asks for."""
        await self._room.check()
        at = stored_at(incoming)
        await self._begin(event, planner.plan(event, self._announcements.kinds, now=at), at)

    async def _begin(self, event: ChatEvent, plan: Mission | Refused, at: datetime) -> None:
        """Store the mission and its first reply; whichever event of this id was first decides what the mission is."""
        if isinstance(plan, Refused):
            standing = await self._store(planner.refused_mission(event, now=at))
        else:
            standing = await self._store(plan)
        if standing.goals:
            await self._reply_accepted(standing, self._announcements.kinds)
        else:
            await self._reject(
                standing, plan if isinstance(plan, Refused) else planner.not_understood(self._announcements.kinds)
            )

    async def _store(self, mission: Mission) -> Mission:
        """Create the proposal and return it, or the one that stands already, in whatever queue.

        The guard spans all queues, since a repeat may be planned for another one.
        """
        if mission.deadline is not None:
            await self._store_deadline(mission, mission.deadline)
        return await self._turns.do(mission.mission_id, partial(self._create_proposal, mission))

    async def _create_proposal(self, mission: Mission) -> Mission:
        everywhere = subjects.proposed("*", mission.mission_id)
        guard = {names.EXPECTED_LAST_SUBJECT: everywhere}
        subject = subjects.proposed(mission.queue, mission.mission_id)
        self._origins.remember(mission)
        try:
            await self._missions.write(subject, codec.encode(mission), expected=0, headers=guard)
        except Lost:
            stored = await self._bus.head(MISSIONS, everywhere)
            if stored is None:
                raise
            return codec.decode_mission(stored.data)
        return mission

    async def _reply_accepted(self, mission: Mission, kinds: Kinds) -> None:
        subject = subjects.reply(mission.conversation, mission.mission_id, "accepted")
        reply = replies.accepted(mission, unserved=kinds.serves(mission.queue) is False)
        await _create(self._chat, subject, codec.encode(reply))

    async def _reject(self, mission: Mission, refused: Refused) -> None:
        """Write the rejection; the reply follows from it, as from every outcome."""
        subject = subjects.status(mission.queue, mission.mission_id)
        await _create(self._missions, subject, codec.encode(planner.rejection(mission, refused)))
        log.info("chat_event_refused", mission_id=mission.mission_id, reason=refused.reason)

    async def _store_deadline(self, mission: Mission, deadline: datetime) -> None:
        """Create the schedule before the mission, so that no mission is left without its end."""
        await schedules.keep(self._bus, deadlines.expiry(mission, deadline))


async def _create(writer: Writer, subject: str, data: bytes) -> None:
    """Write the first message of a subject; that there is one already is as good."""
    try:
        await writer.write(subject, data, expected=0)
    except Lost:
        log.debug("already_stored", subject=subject)


def stored_at(incoming: Incoming) -> datetime:
    """Return when the broker stored a chat event: the same for every delivery, so that all plan the same bytes."""
    return utc(incoming.time_ns)


def chat_event(incoming: Incoming) -> ChatEvent:
    """Decode a message of `chat.events` or `chat.events.<conversation>`."""
    return codec.decode_chat_event(
        incoming.data,
        conversation=subjects.conversation_of(incoming.subject),
        fallback_id=f"seq-{incoming.seq}-{incoming.time_ns}",
        headers=incoming.headers,
    )


def due_event(incoming: Incoming) -> ChatEvent:
    """Decode what a schedule fired: each firing is an event of its own, whatever its body says."""
    name = subjects.schedule_of(incoming.headers.get(names.SCHEDULER, ""))
    return codec.decode_chat_event(
        incoming.data,
        conversation=subjects.conversation_of(incoming.subject),
        fallback_id=f"{name}-{incoming.seq}-{incoming.time_ns}",
        headers=incoming.headers,
        fired=True,
    )
