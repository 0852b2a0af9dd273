"""Carries commands out: reads the mission's head, writes what the table says on top of it, wakes the owner."""

from __future__ import annotations

import structlog

from contracts import codec, subjects
from contracts.errors import ContractError, Lost, WriteError
from contracts.messages import ChatEvent, Command
from contracts.topology import MISSIONS
from services.orchestrator import commands
from services.runtime.bus import Bus
from services.runtime.writer import Writer

log = structlog.get_logger()

#: A command may overtake its own mission, so an unknown mission is looked for this often before it is given up.
_LOOKS = 5
_RACES = 20


class NotProposedYet(WriteError):
    """The command is about a mission that is not proposed (yet)."""


class CommandDesk:
    """Where commands about missions arrive."""

    def __init__(self, bus: Bus, missions: Writer) -> None:
        self._bus = bus
        self._missions = missions

    async def carry_out(self, event: ChatEvent, command: Command, *, deliveries: int) -> None:
        """Do what the command says; repeating it is harmless.

        Raises `NotProposedYet` for a mission that may still come, `ContractError` for one that does not.
        """
        queue = await self._queue(command.mission_id, deliveries)
        for _ in range(_RACES):
            try:
                await self._step(event, command, queue)
            except Lost:
                continue
            return
        raise WriteError(f"mission {command.mission_id} changes too fast for {command.kind}")

    async def _queue(self, mission_id: str, deliveries: int) -> str:
        proposal = await self._bus.head(MISSIONS, subjects.proposed("*", mission_id))
        if proposal is not None:
            return subjects.parse_record(proposal.subject).queue
        if deliveries < _LOOKS:
            raise NotProposedYet(f"there is no mission {mission_id} yet")
        raise ContractError(f"there is no mission {mission_id}")

    async def _step(self, event: ChatEvent, command: Command, queue: str) -> None:
        """Write on top of the head as it is now; raises `Lost` where it has changed."""
        subject = subjects.status(queue, command.mission_id)
        stored = await self._bus.head(MISSIONS, subject)
        head = codec.decode_status(stored.data) if stored else None
        step = commands.step(command, head, causation_id=event.id)
        if step.record is not None:
            expected = stored.seq if stored else 0
            record = step.record
            await self._missions.write(subject, codec.encode(record), event_id=record.event_id, expected=expected)
        if step.signal:
            await self._bus.publish(subjects.signals(queue), command.mission_id.encode())
        log.info(
            "command_done",
            command=command.kind,
            mission_id=command.mission_id,
            status=step.record.status if step.record else head and head.status,
            signal=step.signal,
        )
