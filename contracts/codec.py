"""Bytes to messages and back. Nothing but a `ContractError` ever leaves a decoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import msgspec

from contracts.errors import DecodeError, TooLarge
from contracts.ids import check_token
from contracts.messages import ChatEvent, KindSpec, Mission, Reply, StatusRecord

#: Headers and body together, at every entrance.
MAX_MESSAGE_BYTES = 256 * 1024
MAX_DEPTH = 32

#: A string, closed or not, or a bracket outside of strings. Every byte is looked at once, whatever comes: no retries.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)?+|[\[\]{}]', re.DOTALL)
_STRUCTURED = "application/cloudevents"

_encoder = msgspec.json.Encoder()
_any_decoder = msgspec.json.Decoder()
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_chat_decoder = msgspec.json.Decoder(ChatEvent)
_mission_decoder = msgspec.json.Decoder(Mission)
_status_decoder = msgspec.json.Decoder(StatusRecord)
_reply_decoder = msgspec.json.Decoder(Reply)
_kind_decoder = msgspec.json.Decoder(KindSpec)

M = TypeVar("M")


class _Peek(msgspec.Struct):
    event_id: str = ""


class _PeekAttempt(msgspec.Struct):
    attempt: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


_peek_decoder = msgspec.json.Decoder(_Peek)
_attempt_decoder = msgspec.json.Decoder(_PeekAttempt)


def encode(message: Any) -> bytes:
    """Encode a message as one line of JSON; raises `TooLarge` over `MAX_MESSAGE_BYTES`."""
    try:
        data = _encoder.encode(message)
    except Exception as error:
        raise DecodeError(f"cannot be written as JSON: {error}") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"the message has {len(data)} bytes, {MAX_MESSAGE_BYTES} are allowed")
    return data


def decode_mission(data: bytes) -> Mission:
    """Decode a proposal."""
    return _decode(_mission_decoder, data)


def decode_status(data: bytes) -> StatusRecord:
    """Decode a status record; an unknown status is a `DecodeError`."""
    return _decode(_status_decoder, data)


def decode_reply(data: bytes) -> Reply:
    """Decode a reply."""
    return _decode(_reply_decoder, data)


def decode_kind(data: bytes) -> KindSpec:
    """Decode the announcement of a goal kind."""
    return _decode(_kind_decoder, data)


def decode_any(data: bytes) -> Any:
    """Decode outside JSON of any shape, within the limits."""
    return _decode(_any_decoder, data)


def decode_chat_event(
    data: bytes, *, conversation: str, fallback_id: str, headers: Mapping[str, str] | None = None, fired: bool = False
) -> ChatEvent:
    """Decode what came through the door: JSON, either form of CloudEvents, or plain text.

    `conversation` is the subject's token, used where the body names none. The id is the body's, else that of the
    CloudEvent, else the `Nats-Msg-Id`, else `fallback_id`; `fired` (by a schedule) makes it `fallback_id` always.
    """
    headers = headers or {}
    body = _chat_body(data, headers)
    event_id = fallback_id if fired else _event_id(body, headers) or fallback_id
    body.pop("specversion", None)
    body = {"conversation": check_token(conversation, "conversation")} | body | {"id": event_id}
    event = _convert(body)
    if event.text is None and not event.goals and event.command is None:
        raise DecodeError("a chat event needs a text, or goals, or a command")
    return event


def _chat_body(data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    check_limits(data)
    if data.lstrip()[:1] != b"{":
        return {"text": _text(data)}
    body = _decode(_object_decoder, data)
    if headers.get("Content-Type", "").startswith(_STRUCTURED) or "specversion" in body:
        return _unwrap_cloudevent(body)
    return body


def _unwrap_cloudevent(envelope: dict[str, Any]) -> dict[str, Any]:
    data = envelope.get("data")
    body = dict(data) if isinstance(data, dict) else {"text": data if isinstance(data, str) else None}
    if not body.get("id") and isinstance(envelope.get("id"), str):
        body["id"] = f"{envelope.get('source', '')}/{envelope['id']}"
    return body


def _event_id(body: dict[str, Any], headers: Mapping[str, str]) -> str | None:
    if own := body.get("id"):
        return str(own) if isinstance(own, int) else own
    if "ce-id" in headers:
        return unquote(f"{headers.get('ce-source', '')}/{headers['ce-id']}")
    return headers.get("Nats-Msg-Id")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("the body is neither JSON nor UTF-8 text") from error


def _convert(body: dict[str, Any]) -> ChatEvent:
    try:
        return msgspec.convert(body, ChatEvent)
    except Exception as error:
        raise _decode_error(error) from error


def _decode(decoder: msgspec.json.Decoder[M], data: bytes) -> M:
    check_limits(data)
    try:
        return decoder.decode(data)
    except Exception as error:
        raise _decode_error(error) from error


def _decode_error(error: Exception) -> DecodeError:
    message, _, path = str(error).partition(" - at `$")
    return DecodeError(message or type(error).__name__, pointer=_pointer(path.rstrip("`")))


def _pointer(path: str) -> str:
    """Turn msgspec's `.goals[0].kind` into the JSON pointer `/goals/0/kind`."""
    return re.sub(r"\.|\[", "/", path).replace("]", "")


def event_id_of(data: bytes) -> str:
    """Return the `event_id` of a record, or nothing where there is none to read."""
    try:
        return _peek_decoder.decode(data).event_id
    except Exception:  # noqa: BLE001 - outside bytes: whatever goes wrong, there is no id
        return ""


def attempt_of(data: bytes) -> int:
    """Return the `attempt` of a record that may be readable in nothing else, or 0."""
    try:
        return _attempt_decoder.decode(data).attempt
    except Exception:  # noqa: BLE001 - as above
        return 0


def check_limits(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raise `TooLarge` where `data` is over the size or nested deeper than `max_depth`."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"the message has {len(data)} bytes, {MAX_MESSAGE_BYTES} are allowed")
    check_depth(data, max_depth)


def check_depth(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raise `TooLarge` where `data` is nested deeper than `max_depth`."""
    if data.count(b"{") + data.count(b"[") > max_depth and _depth(data) > max_depth:
        raise TooLarge(f"the message is nested deeper than {max_depth} levels")


def _depth(data: bytes) -> int:
    """Return how deep the brackets outside strings nest."""
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(data):
        match data[found.start()]:
            case 0x5B | 0x7B:
                depth += 1
                deepest = max(deepest, depth)
            case 0x5D | 0x7D:
                depth -= 1
    return deepest
