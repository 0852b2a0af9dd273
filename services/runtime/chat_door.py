"""The door for chat events: an event is on the broker's disk before anyone is told so."""

from __future__ import annotations

import asyncio
import uuid

import msgspec

from contracts import codec, headers, ids, spoken, subjects, topology
from contracts.errors import ContractError, MaybeStored
from contracts.messages import ChatEvent
from services.runtime.bus import Bus, PubAck
from services.runtime.incoming import Stored
from services.runtime.writer import Writer

#: Whoever asks over HTTP is told by then what is known; the writer goes on trying meanwhile.
HTTP_WITHIN_S = 5.0


class ChatDoor:
    """Publishes chat events. The id makes a repeat harmless; where there is none, a random one is given.

    After `within_s` nobody waits any more for a broker that says nothing; None: as long as the writer tries.
    """

    def __init__(self, bus: Bus, writer: Writer, within_s: float | None = None) -> None:
        self._bus = bus
        self._writer = writer
        self._within_s = within_s

    async def publish(self, event: ChatEvent) -> str:
        """Store a chat event and return the id of its mission, or of the one it commands.

        Raises `WriteError` when nobody can say that it is stored; a `MaybeStored` names the id to repeat it with.
        """
        event = event if event.id else msgspec.structs.replace(event, id=f"door-{uuid.uuid4().hex}")
        ack = await self._store(event)
        if ack.duplicate:
            await self._check_duplicate(ack.seq, event)
        return spoken.mission_commanded(event) or ids.mission_id(event.conversation, event.id)

    async def _store(self, event: ChatEvent) -> PubAck:
        identity = _identity(f"{event.conversation}/{event.id}")
        writing = self._writer.acked(subjects.chat_events(event.conversation), codec.encode(event), headers=identity)
        try:
            return await asyncio.wait_for(writing, self._within_s)
        except (TimeoutError, MaybeStored) as error:
            known = str(error) if isinstance(error, MaybeStored) else "the broker has not answered yet"
            raise MaybeStored(f"it may be stored, {known}; repeat it with the id {event.id}") from error

    async def _check_duplicate(self, seq: int, event: ChatEvent) -> None:
        """Believe "duplicate" only when this very event is stored: the broker's dedupe ignores subject and body."""
        stored = await self._bus.message(topology.CHAT, seq)
        if stored is None or _stored_id(stored) != (event.conversation, event.id):
            raise MaybeStored(f"another message took the id {event.id!r}: publish the event with another id")


def _stored_id(stored: Stored) -> tuple[str, str]:
    """Return conversation and id of a stored event, as whoever consumes it will see them."""
    try:
        event = codec.decode_chat_event(
            stored.data,
            conversation=subjects.conversation_of(stored.subject),
            fallback_id="",
            headers=stored.headers,
        )
    except ContractError:
        return "", ""
    return event.conversation, event.id


def _identity(message_id: str) -> dict[str, str]:
    """Use the id as `Nats-Msg-Id` only where it can stand in a header unchanged."""
    unchanged = message_id.isascii() and message_id.isprintable() and message_id == message_id.strip()
    return {headers.MSG_ID: message_id} if unchanged else {}
