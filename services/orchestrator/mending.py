"""Looks at one open mission on the leader, and does about it what the table of `lost` says."""

from __future__ import annotations

from functools import partial

import structlog

from contracts import codec, subjects
from contracts import headers as names
from contracts.errors import ContractError
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import ChatEvent, Command, Mission
from contracts.questions import ANSWERED, Asked, open_questions
from contracts.topology import MISSIONS
from services.orchestrator.command_desk import LOOKS, CommandDesk
from services.orchestrator.found import Found, Head, Item
from services.orchestrator.lost import Verdict
from services.orchestrator.one_at_a_time import OneAtATime
from services.orchestrator.open_missions import OpenMission
from services.orchestrator.room import Room
from services.runtime.bus import Bus
from services.runtime.incoming import Stored, utc
from services.runtime.writer import Writer

log = structlog.get_logger()


class Mender:
    """Puts missions back into their queue, or ends them."""

    def __init__(self, bus: Bus, missions: Writer, desk: CommandDesk, turns: OneAtATime, room: Room) -> None:
        self._bus = bus
        self._missions = missions
        self._desk = desk
        self._turns = turns
        self._room = room

    async def look(self, one: OpenMission, done_to: int, now_ns: int) -> Found | None:
        """Read where a mission stands; None where it has ended, or nothing is left of it.

        `done_to` was asked for before: an owner lets go of its work item only after it wrote what it came to. The head
        is read before the item, so that a later item is not missed.
        """
        head = await self._bus.head(MISSIONS, subjects.status(one.queue, one.mission_id))
        item = await self._bus.head(MISSIONS, subjects.proposed(one.queue, one.mission_id))
        last = [stored for stored in (head, item) if stored is not None]
        found_head = _head(head) if head else None
        if not last or (found_head and found_head.record and found_head.record.status in TERMINAL):
            return None
        return Found(
            mission_id=one.mission_id,
            item=await self._item(item) if item else None,
            head=found_head,
            done_to=done_to,
            silent_s=(now_ns - max(stored.time_ns for stored in last)) / 1e9,
            now=utc(now_ns),
            questions=await self._questions(one, found_head),
        )

    async def _item(self, last: Stored) -> Item:
        """Return the last work item, with the last proposal that can be read: usually its own."""
        mission = _mission(last)
        if mission is None:
            proposals = await self._bus.records(MISSIONS, last.subject)
            mission = next((found for stored in reversed(proposals) if (found := _mission(stored))), None)
        return Item(last.seq, codec.event_id_of(last.data), mission)

    async def _questions(self, one: OpenMission, head: Head | None) -> dict[str, Asked]:
        record = head.record if head else None
        if record is None or record.status is not Status.WAITING or record.phase == ANSWERED:
            return {}
        stored = await self._bus.records(MISSIONS, subjects.status(one.queue, one.mission_id))
        told = [_head(record).record for record in stored]
        return open_questions(record for record in told if record is not None)

    async def mend(self, one: OpenMission, found: Found, verdict: Verdict) -> None:
        """Carry a verdict out; raises `Lost` where the mission has moved on, `WriteError`, `ContractError`."""
        if verdict.command is not None:
            await self._command(verdict.command, found)
        elif verdict.again is not None:
            await self._room.check()
            again = verdict.again
            await self._write(one, subjects.proposed(one.queue, one.mission_id), codec.encode(again), found)
        elif verdict.outcome is not None:
            await self._write(one, subjects.status(one.queue, one.mission_id), codec.encode(verdict.outcome), found)
        log.warning("mission_swept", mission_id=one.mission_id, queue=one.queue, did=verdict.did, after=found.last_seq)

    async def _command(self, command: Command, found: Found) -> None:
        """Give the command that a lost schedule would have given; its id tells several questions apart."""
        conversation = found.mission.conversation if found.mission else subjects.DEFAULT_CONVERSATION
        event = ChatEvent(id=f"sweep-{command.about or command.mission_id}", conversation=conversation, command=command)
        await self._desk.carry_out(event, command, deliveries=LOOKS)

    async def _write(self, one: OpenMission, subject: str, data: bytes, found: Found) -> None:
        """Write on top of all that is known of the mission, its work items as well."""
        guard = {names.EXPECTED_LAST_SUBJECT: subjects.records(one.queue, one.mission_id)}
        write = partial(self._missions.write, subject, data, expected=found.last_seq, headers=guard)
        await self._turns.do(one.mission_id, write)


def _mission(stored: Stored) -> Mission | None:
    try:
        return codec.decode_mission(stored.data)
    except ContractError:
        return None


def _head(stored: Stored) -> Head:
    try:
        record = codec.decode_status(stored.data)
    except ContractError:
        return Head(stored.seq, codec.attempt_of(stored.data), None)
    return Head(stored.seq, record.attempt, record)
