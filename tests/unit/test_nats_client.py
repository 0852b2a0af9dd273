"""The frames that go to the broker's socket, against nats-py's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError, BadSubjectError
from nats.protocol import command

from services.runtime.nats_client import LeanClient, frame, plain_frame

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
