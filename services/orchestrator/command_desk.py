"""Carries commands out: reads the mission's head, writes what the table says on top of it, wakes the owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from msgspec.structs import replace

from contracts import codec, subjects
from contracts import headers as names
from contracts.errors import Lost, WriteError
from contracts.messages import ChatEvent, Command, StatusRecord, now
from contracts.topology import MISSIONS
from services.orchestrator import answering, commands
from services.orchestrator.commands import Step
from services.orchestrator.one_at_a_time import OneAtATime
from services.orchestrator.verdict import NotDone, Refused
from services.runtime.bus import Bus
from services.runtime.incoming import Stored
from services.runtime.writer import Writer

log = structlog.get_logger()

#: A command may overtake its own mission, so an unknown mission is looked for this often before it is given up.
LOOKS = 5
_RACES = 20


Act = Callable[[ChatEvent, Command, str], Awaitable[None]]


class NotProposedYet(WriteError):
    """The command is about a mission that is not proposed (yet)."""


class CommandDesk:
    """Where commands about missions arrive."""

    def __init__(self, bus: Bus, missions: Writer, turns: OneAtATime) -> None:
        self._bus = bus
        self._missions = missions
        self._turns = turns

    async def carry_out(self, event: ChatEvent, command: Command, *, deliveries: int) -> None:
        """Do what the command says; repeating it is harmless.

        Raises `NotProposedYet` for a mission that may still come, `NotDone` for one that does not, and for a command
        that makes no sense as the mission stands.
        """
        queue = subjects.parse_record((await self.proposal(command.mission_id, deliveries)).subject).queue
        act = self._answer if command.kind == "answer" or command.about else self._step
        await self._turns.do(command.mission_id, partial(self._until_done, act, event, command, queue))

    async def _until_done(self, act: Act, event: ChatEvent, command: Command, queue: str) -> None:
        for _ in range(_RACES):
            try:
                await act(event, command, queue)
            except Lost:
                continue
            return
        raise WriteError(f"mission {command.mission_id} changes too fast for {command.kind}")

    async def proposal(self, mission_id: str, deliveries: int) -> Stored:
        """Return the last proposal of a mission."""
        found = await self._bus.head(MISSIONS, subjects.proposed("*", mission_id))
        if found is not None:
            return found
        if deliveries < LOOKS:
            raise NotProposedYet(f"there is no mission {mission_id} yet")
        raise NotDone(Refused("no_such_mission", f"There is no mission {mission_id}."))

    async def head(self, queue: str, mission_id: str) -> StatusRecord | None:
        """Return the last record of a mission."""
        stored = await self._bus.head(MISSIONS, subjects.status(queue, mission_id))
        return codec.decode_status(stored.data) if stored else None

    async def _step(self, event: ChatEvent, command: Command, queue: str) -> None:
        """Write on top of the head as it is now; raises `Lost` where it has changed."""
        stored = await self._bus.head(MISSIONS, subjects.status(queue, command.mission_id))
        head = codec.decode_status(stored.data) if stored else None
        step = commands.step(command, head, causation_id=event.id)
        if step is commands.NOTHING and event.command is None and head is not None:
            await self._check_own(event, head, queue)
        await self._take(step, command, queue, stored.seq if stored else 0)

    async def _check_own(self, event: ChatEvent, head: StatusRecord, queue: str) -> None:
        """Raise `NotDone` for a wish that came too late, unless it is this very one that ended the mission."""
        stored = await self._bus.records(MISSIONS, subjects.status(queue, head.mission_id))
        if not any(codec.decode_status(one.data).causation_id == event.id for one in stored):
            text = f"Mission {head.mission_id} has ended already: it is {head.status.value}."
            raise NotDone(Refused("ended", text))

    async def _answer(self, event: ChatEvent, command: Command, queue: str) -> None:
        """Answer a question, or let it expire, as the records stand now; raises `Lost` where they have changed."""
        stored = await self._bus.records(MISSIONS, subjects.status(queue, command.mission_id))
        step = answering.step(event, command, [codec.decode_status(one.data) for one in stored])
        await self._take(step, command, queue, stored[-1].seq if stored else 0)

    async def _take(self, step: Step, command: Command, queue: str, expected: int) -> None:
        record = step.record
        if record is not None:
            subject = subjects.status(queue, command.mission_id)
            expected = await self._missions.write(
                subject, codec.encode(record), event_id=record.event_id, expected=expected
            )
        if step.proposes:
            await self._propose_again(queue, command.mission_id, step.proposes, expected)
        if step.signal:
            await self._bus.publish(subjects.signals(queue), command.mission_id.encode())
        log.info(
            "command_done",
            command=command.kind,
            mission_id=command.mission_id,
            status=record.status.value if record else "",
            phase=record.phase if record else "",
            signal=step.signal,
        )

    async def _propose_again(self, queue: str, mission_id: str, after: str, head: int) -> None:
        """Put a mission back into its queue, once for each record that makes it go on, and only on top of that record.

        Raises `Lost` where the mission has moved on. A crash before it is healed by the command, which is delivered
        again.
        """
        subject = subjects.proposed(queue, mission_id)
        stored = await self._bus.head(MISSIONS, subject)
        if stored is None:
            return
        proposal = codec.decode_mission(stored.data)
        if proposal.after != after:
            again = replace(proposal, after=after, event_id=f"{after}.again", at=now())
            guard = {names.EXPECTED_LAST_SUBJECT: subjects.records(queue, mission_id)}
            await self._missions.write(
                subject, codec.encode(again), event_id=again.event_id, expected=head, headers=guard
            )
