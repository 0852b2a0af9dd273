"""The frames that go to the broker's socket and come from it, against nats-py's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError, BadSubjectError, ProtocolError
from nats.protocol import command
from nats.protocol.parser import Parser

from services.runtime.nats_client import LeanClient, frame, plain_frame, readable
from services.runtime.nats_parser import LeanParser

NAMES = st.from_regex(r"[A-Za-z][A-Za-z-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(str.strip)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=50))
def test_a_frame_is_what_nats_py_would_send(headers: dict[str, str], data: bytes) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    theirs = command.hpub_cmd("a.b", "", f"NATS/1.0\r\n{lines}\r\n".encode(), data)
    assert frame("a.b", headers, data) == theirs.replace(b"a.b  ", b"a.b ")


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_headers_are_read_as_nats_py_reads_them(headers: dict[str, str]) -> None:
    block = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    assert LeanClient._parse_header_lines(block) == Client._parse_header_lines(block)


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a\n", "a\x00b"])
def test_a_subject_cannot_smuggle_in_a_command(subject: str) -> None:
    with pytest.raises(BadSubjectError):
        frame(subject, {}, b"")
    with pytest.raises(BadSubjectError):
        plain_frame(subject, b"")


@pytest.mark.parametrize("headers", [{"a": "b\r\nc: d"}, {"a\n": "b"}, {"a": "b\n"}])
def test_a_header_cannot_smuggle_in_another(headers: dict[str, str]) -> None:
    with pytest.raises(BadHeaderError):
        frame("a", headers, b"")


class Listener:
    """What a parser calls, written down."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def _process_msg(self, *message: Any) -> None:
        self.calls.append(message)

    async def _process_err(self, text: str) -> None:
        self.calls.append(text)

    async def _process_info(self, info: Any) -> None:
        self.calls.append(info)

    async def _process_ping(self) -> None:
        self.calls.append("ping")

    async def _process_pong(self) -> None:
        self.calls.append("pong")


def parsed(kind: type[Parser], wire: bytes, size: int) -> list[Any]:
    """Return what a parser makes of bytes that come in pieces of a size."""
    client = Listener()
    parser = kind(client)

    async def read() -> None:
        for start in range(0, len(wire), size):
            await parser.parse(wire[start : start + size])

    asyncio.run(read())
    return client.calls


WIRE = st.lists(
    st.one_of(
        st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Odd'\r\n", b'INFO {"a":"MSG b 1 1"}\r\n']),
        st.binary(max_size=30).map(lambda data: b"MSG a.b 7 %d\r\n%b\r\n" % (len(data), data)),
        st.binary(max_size=30).map(lambda data: b"MSG a.b 7 $JS.ACK.1 %d\r\n%b\r\n" % (len(data), data)),
        st.binary(max_size=30).map(
            lambda data: b"HMSG a 7 reply 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (len(data) + 12, data)
        ),
        st.binary(max_size=30).map(lambda data: b"HMSG a 7 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (len(data) + 12, data)),
    ),
    max_size=6,
).map(b"".join)


@given(WIRE, st.integers(1, 40))
def test_what_the_server_writes_is_read_as_nats_py_reads_it(wire: bytes, size: int) -> None:
    assert parsed(LeanParser, wire, size) == parsed(Parser, wire, size)


@given(st.binary(min_size=1, max_size=8).filter(lambda subject: not set(subject) & set(b" \t\r\n")), st.integers(1, 40))
def test_no_subject_ends_the_reading(subject: bytes, size: int) -> None:
    wire = b"PING\r\nMSG %b 7 %b 2\r\nhi\r\nHMSG %b 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n" % (subject, subject, subject)
    assert parsed(LeanParser, wire, size) == [
        "ping",
        (7, subject, subject, b"hi", None),
        (7, subject, b"", b"hi", b"NATS/1.0\r\n\r\n"),
    ]
    assert readable(subject).decode()


@pytest.mark.parametrize("garbage", [b"HELLO\r\n", b"MSG a\r\n", b"HMSG a 1 x y\r\n", b"\r\n"])
def test_what_is_no_protocol_is_an_error(garbage: bytes) -> None:
    for parser in (Parser, LeanParser):
        with pytest.raises(ProtocolError):
            parsed(parser, b"MSG a 1 1\r\nx\r\n" + garbage, 64)


async def test_nothing_of_an_old_connection_is_read_into_a_new_one() -> None:
    client = Listener()
    parser = LeanParser(client)

    async def begin_anew(*message: Any) -> None:
        client.calls.append(message)
        parser.reset()

    client._process_msg = begin_anew  # type: ignore[method-assign]  # as a reconnect in the middle of a read
    await parser.parse(b"MSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\nMSG a 1")
    await parser.parse(b"PING\r\n")
    assert client.calls == [(1, b"a", b"", b"x", None), "ping"]


@pytest.mark.parametrize(
    ("subject", "shown"), [(b"a.\xff\xfe", "a.\ufffd\ufffd"), (b"\xe2\x82", "\ufffd\ufffd"), ("a.é".encode(), "a.é")]
)
def test_each_byte_that_is_no_utf_8_has_its_mark(subject: bytes, shown: str) -> None:
    assert readable(subject).decode() == shown
