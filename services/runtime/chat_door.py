"""The door of `POST /chat/integrated`: a chat event is on the broker's disk before anyone is told so."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts import codec, headers, ids, subjects, topology
from contracts.errors import DecodeError, MaybeStored
from contracts.messages import ChatEvent
from services.runtime.bus import Bus
from services.runtime.http import json_response
from services.runtime.writer import Writer


class ChatRequest(BaseModel):
    """The short form of a request; the body of a chat event is taken too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: Annotated[str, Field(min_length=1, max_length=65_536)]
    conversation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = subjects.DEFAULT_CONVERSATION
    sender: Annotated[str, Field(max_length=256)] = ""
    id: Annotated[str, Field(max_length=256)] = ""


class ChatDoor:
    """Publishes chat events. The id makes a repeat harmless; where there is none, a random one is given."""

    def __init__(self, bus: Bus, writer: Writer) -> None:
        self._bus = bus
        self._writer = writer

    async def publish(self, event: ChatEvent) -> str:
        """Store a chat event and return the id of its mission; raises `WriteError` when nobody can say it is stored."""
        event = event if event.id else msgspec.structs.replace(event, id=f"door-{uuid.uuid4().hex}")
        message_id = f"{event.conversation}/{event.id}"
        ack = await self._writer.acked(
            subjects.chat_events(event.conversation), codec.encode(event), headers=_identity(message_id)
        )
        if ack.duplicate:
            await self._check_duplicate(ack.seq, event)
        return ids.mission_id(event.conversation, event.id)

    async def _check_duplicate(self, seq: int, event: ChatEvent) -> None:
        """Believe "duplicate" only when this very event is stored: the broker's dedupe ignores subject and body."""
        stored = await self._bus.message(topology.CHAT, seq)
        if stored is None or stored.subject != subjects.chat_events(event.conversation):
            raise MaybeStored(f"another message took the id {event.id!r}: publish the event with another id")


def _identity(message_id: str) -> dict[str, str]:
    """Use the id as `Nats-Msg-Id` only where it can stand in a header unchanged."""
    return {headers.MSG_ID: message_id} if message_id.isascii() and message_id.isprintable() else {}


def routes(door: ChatDoor) -> list[Route]:
    """Return the route of the door, mounted by the orchestrator and the whiteboard."""

    async def chat_integrated(request: Request) -> Response:
        event = parse(await request.body())
        mission_id = await door.publish(event)
        body = {"mission_id": mission_id, "conversation": event.conversation, "status": "accepted"}
        return json_response(body, 202, {"Location": f"/missions/{mission_id}"})

    return [Route("/chat/integrated", chat_integrated, methods=["POST"])]


def parse(body: bytes) -> ChatEvent:
    """Read either form of the request body; raises `DecodeError`."""
    content = codec.decode_any(body)
    if not isinstance(content, dict):
        raise DecodeError('the body is not a JSON object: send {"message": "…"} or a chat event')
    if "message" not in content:
        return codec.decode_chat_event(body, conversation=subjects.DEFAULT_CONVERSATION, fallback_id="")
    try:
        short = ChatRequest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise DecodeError(first["msg"], pointer="/" + "/".join(str(part) for part in first["loc"])) from error
    return ChatEvent(id=short.id, conversation=short.conversation, sender=short.sender, text=short.message)
