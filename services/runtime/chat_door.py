"""The door for chat events: an event is on the broker's disk before anyone is told so."""

from __future__ import annotations

import uuid

import msgspec

from contracts import codec, headers, ids, subjects, topology
from contracts.errors import MaybeStored
from contracts.messages import ChatEvent
from services.runtime.bus import Bus
from services.runtime.writer import Writer


class ChatDoor:
    """Publishes chat events. The id makes a repeat harmless; where there is none, a random one is given."""

    def __init__(self, bus: Bus, writer: Writer) -> None:
        self._bus = bus
        self._writer = writer

    async def publish(self, event: ChatEvent) -> str:
        """Store a chat event and return the id of its mission, or of the one it commands.

        Raises `WriteError` when nobody can say that it is stored.
        """
        event = event if event.id else msgspec.structs.replace(event, id=f"door-{uuid.uuid4().hex}")
        message_id = f"{event.conversation}/{event.id}"
        ack = await self._writer.acked(
            subjects.chat_events(event.conversation), codec.encode(event), headers=_identity(message_id)
        )
        if ack.duplicate:
            await self._check_duplicate(ack.seq, event)
        return event.command.mission_id if event.command else ids.mission_id(event.conversation, event.id)

    async def _check_duplicate(self, seq: int, event: ChatEvent) -> None:
        """Believe "duplicate" only when this very event is stored: the broker's dedupe ignores subject and body."""
        stored = await self._bus.message(topology.CHAT, seq)
        if stored is None or stored.subject != subjects.chat_events(event.conversation):
            raise MaybeStored(f"another message took the id {event.id!r}: publish the event with another id")


def _identity(message_id: str) -> dict[str, str]:
    """Use the id as `Nats-Msg-Id` only where it can stand in a header unchanged."""
    return {headers.MSG_ID: message_id} if message_id.isascii() and message_id.isprintable() else {}
