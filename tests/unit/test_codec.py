"""Whatever bytes come in, only our own errors come out."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec, ids, messages
from contracts.errors import ContractError, DecodeError, TooLarge
from contracts.lifecycle import CORE, Status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
CHAT_KEYS = st.sampled_from(["id", "conversation", "text", "goals", "command", "at", "deadline_s", "queue", "metadata"])


def chat(data: bytes, **options: object) -> messages.ChatEvent:
    return codec.decode_chat_event(data, conversation="ops", fallback_id="seq-1", **options)  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_our_own_errors(data: bytes) -> None:
    for decode in (codec.decode_mission, codec.decode_status, codec.decode_reply, codec.decode_any, chat):
        with contextlib.suppress(ContractError):
            decode(data)


@given(st.dictionaries(CHAT_KEYS | st.text(max_size=5), JSON, max_size=6))
def test_no_json_object_raises_anything_but_our_own_errors(body: dict[str, object]) -> None:
    try:
        event = chat(json.dumps(body).encode())
    except ContractError:
        return
    assert event.id
    assert chat(codec.encode(event)) == event


@pytest.mark.parametrize(
    "data",
    [
        b'{"text": NaN}',
        b'{"text": 1e400}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b'{"goals": 3}',
        b'{"text": "a"} trailing',
        b"{" * 100_000,
        b'{"metadata":' + b"[" * 100_000,
        b'{"metadata": {"a": ' + b"[" * 40 + b"]" * 40 + b'}, "text": "deep"}',
        b'{"deadline_s": ' + b"9" * 5_000 + b', "text": "x"}',
        b"{}",
        b'{"text": null}',
        b'{"conversation": "a.b", "text": "x"}',
        b'{"conversation": "ops\\n", "text": "x"}',
    ],
)
def test_hostile_events_are_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        chat(data)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'"\\"', b"[", b'"]'])
def test_the_largest_hostile_body_costs_no_more_than_its_length(unit: bytes) -> None:
    body = b"{" * 33 + b'"' + unit * ((codec.MAX_MESSAGE_BYTES - 40) // len(unit))
    with pytest.raises(ContractError):  # within the timeout of a test: a quadratic scan would take minutes
        chat(body)


@given(JSON)
def test_the_depth_is_that_of_the_value(value: object) -> None:
    def depth(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert codec._depth(json.dumps(value).encode()) == depth(value)


def test_the_limit_of_size_comes_before_parsing() -> None:
    with pytest.raises(TooLarge, match="bytes"):
        chat(b"x" * (codec.MAX_MESSAGE_BYTES + 1))


def test_brackets_inside_strings_are_not_depth() -> None:
    assert chat(json.dumps({"text": "[" * 100}).encode()).text == "[" * 100


def test_plain_text_is_the_text() -> None:
    event = chat(b"hello there")
    assert (event.text, event.conversation, event.id) == ("hello there", "ops", "seq-1")


def test_the_pointer_says_where() -> None:
    with pytest.raises(DecodeError) as caught:
        chat(b'{"goals": [{"kind": "echo"}, {"kind": 3}]}')
    assert caught.value.pointer == "/goals/1/kind"


def test_the_id_comes_from_the_body_then_the_cloudevent_then_the_message_id() -> None:
    headers = {"ce-id": "a%20b", "ce-source": "/bot", "Nats-Msg-Id": "m"}
    assert chat(b'{"id": "own", "text": "x"}', headers=headers).id == "own"
    assert chat(b'{"text": "x"}', headers=headers).id == "/bot/a b"
    assert chat(b'{"text": "x"}', headers={"Nats-Msg-Id": "m"}).id == "m"
    assert chat(b'{"id": "own", "text": "x"}', fired=True).id == "seq-1"


def test_a_structured_cloudevent_is_unwrapped() -> None:
    envelope = {"specversion": "1.0", "id": "7", "source": "/bot", "type": "chat", "data": {"text": "hi"}}
    event = chat(json.dumps(envelope).encode(), headers={"Content-Type": "application/cloudevents+json"})
    assert (event.text, event.id) == ("hi", "/bot/7")


def test_an_unknown_status_is_refused_and_unknown_phases_and_fields_are_not() -> None:
    record = messages.status_record(
        event_id="m.1.1", mission_id="m", status=Status.ACTIVE, actor="a", phase="from the future"
    )
    known = msgspec.json.decode(codec.encode(record))
    assert codec.decode_status(msgspec.json.encode(known | {"invented": 1})).phase == "from the future"
    with pytest.raises(DecodeError):
        codec.decode_status(msgspec.json.encode(known | {"status": "paused"}))


@given(st.sampled_from(Status), st.text(max_size=20), JSON)
def test_a_status_record_survives_the_wire(status: Status, reason: str, result: object) -> None:
    sent = messages.status_record(
        event_id="m.1.2", mission_id="m", status=status, actor="a", reason=reason, result=_finite(result)
    )
    received = codec.decode_status(codec.encode(sent))
    assert received == sent
    assert received.core == CORE[status]


def _finite(value: object) -> object:
    return msgspec.json.decode(codec.encode(json.loads(json.dumps(value), parse_constant=lambda _: None)))


@given(st.text(), st.text())
def test_a_mission_id_is_deterministic_and_a_token(conversation: str, event: str) -> None:
    first = ids.mission_id(conversation, event)
    assert first == ids.mission_id(conversation, event)
    assert ids.is_mission_id(first)
    assert ids.is_token(first)
    assert first != ids.mission_id(conversation + "x", event)


def test_conversation_and_event_cannot_be_shifted_into_each_other() -> None:
    assert ids.mission_id("a", "b:c") != ids.mission_id("a:b", "c")


@pytest.mark.parametrize("text", ["", "a b", "a.b", "*", ">", "é", "a\n", "a\x00", "x" * 65, "\u2028"])
def test_what_may_not_stand_in_a_subject_is_refused(text: str) -> None:
    assert not ids.is_token(text)
    with pytest.raises(ContractError):
        ids.check_token(text, "queue")
