"""`POST /chat/integrated`: the door over HTTP, mounted by the orchestrator and the whiteboard."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from contracts import codec, subjects
from contracts.errors import DecodeError
from contracts.messages import ChatEvent
from services.runtime.chat_door import ChatDoor
from services.runtime.http import json_response
from services.runtime.openapi import Operation
from services.runtime.problems import problem


class ChatRequest(BaseModel):
    """The short form of a request; the body of a chat event is taken too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: Annotated[str, Field(min_length=1, max_length=65_536)]
    conversation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = subjects.DEFAULT_CONVERSATION
    sender: Annotated[str, Field(max_length=256)] = ""
    id: Annotated[str, Field(max_length=256)] = ""


class Accepted(Struct, frozen=True):
    """The event is on the broker's disk."""

    mission_id: str
    conversation: str
    status: str


#: Either form of a body.
BODY = {"anyOf": [ChatRequest.model_json_schema(), {"type": "object", "not": {"required": ["message"]}}]}
_PROBLEMS = {
    403: "a page of another site sent it",
    408: "the body did not come in time",
    413: "the body is too large",
    503: "it is not stored, or nobody knows: repeat it with the same id",
}


def routes(door: ChatDoor) -> list[Operation]:
    """Return the route of the door, mounted by the orchestrator and the whiteboard."""

    async def chat_integrated(request: Request) -> Response:
        if from_another_site(request):
            hint = "Send it from this origin, or without a browser"
            return problem(403, "Another site", "a page of another site may not give orders here", hint=hint)
        event = parse(await request.body())
        mission_id = await door.publish(event)
        body = Accepted(mission_id, event.conversation, "accepted")
        return json_response(body, 202, {"Location": f"/missions/{mission_id}"})

    return [
        Operation(
            "/chat/integrated",
            chat_integrated,
            "Say something in chat",
            method="POST",
            body=BODY,
            answers={202: Accepted},
            problems=_PROBLEMS,
        )
    ]


def from_another_site(request: Request) -> bool:
    """Tell a request that a browser sends for a page of somebody else's; such a POST needs no preflight."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    return foreign or request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}


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
