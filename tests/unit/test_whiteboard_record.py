from __future__ import annotations

import json
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DecodeError
from contracts.messages import JournalRecord
from services.whiteboard.record import GENESIS, Note, chain_hash, decode_line, encode_line, identity

TIME = "2026-01-01T00:00:00.123456789Z"
SUBJECT = "missions.status.default.abcdefghijklmnopqrstuvwxyz"


def line_of(data: bytes, subject: str = SUBJECT) -> bytes:
    return encode_line(Note(12, TIME, subject, data), GENESIS)


def test_a_line_has_the_members_of_the_contract_in_their_order() -> None:
    line = line_of(b'{"a": 1}')
    assert list(json.loads(line)) == ["seq", "time", "subject", "crc", "prev", "data"]
    record = msgspec.json.decode(line, type=JournalRecord)
    assert (record.seq, record.time, record.subject, record.prev) == (12, TIME, SUBJECT, GENESIS)
    assert bytes(record.data) == b'{"a": 1}'


def test_the_checksum_is_over_the_line_without_its_member() -> None:
    line = line_of(b"{}")
    crc = json.loads(line)["crc"]
    without = line.replace(b'"crc":"%b",' % crc.encode(), b"")
    assert int(crc, 16) == crc32(without)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_comes_is_one_line_of_json_and_comes_back(data: bytes) -> None:
    line = line_of(data)
    assert b"\n" not in line
    assert json.loads(line.decode())["seq"] == 12
    record = decode_line(line)
    assert record.data == data or json.loads(record.data) == json.loads(data)


@pytest.mark.parametrize(
    "data", [b'{"a": 1 }', ' "\u2028"'.encode(), b'{"n":1e999,"big":123456789012345678901234567890}']
)
def test_json_of_one_line_keeps_its_bytes(data: bytes) -> None:
    assert decode_line(line_of(data)).data == data


def test_json_of_several_lines_loses_its_white_space_only() -> None:
    assert decode_line(line_of(b'{\n\t"a": 1.50,\r\n "b": "x y"}')).data == b'{"a":1.50,"b":"x y"}'


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\xff\xfe", b'"\xff"', b'{"a":NaN}', b"[" * 5_000 + b"]" * 5_000, b'"\\ud800"']
)
def test_what_is_not_json_keeps_its_bytes_in_base64(data: bytes) -> None:
    line = line_of(data)
    assert json.loads(line)["encoding"] == "base64"
    assert decode_line(line).data == data


@pytest.mark.parametrize(
    "subject", ['missions.status.x."', 'missions.status.x.","crc":"00000000","', "missions.status.é.\x00", "a\\"]
)
def test_a_hostile_subject_stays_inside_its_string(subject: str) -> None:
    assert decode_line(line_of(b"{}", subject)).subject == subject
    assert json.loads(line_of(b"{}", subject))["subject"] == subject


def test_every_flipped_bit_is_found() -> None:
    line = line_of(b'{"mission_id":"x","status":"active"}')
    for bit in range(len(line) * 8):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            decode_line(bytes(flipped))


def test_every_cut_is_found() -> None:
    line = line_of(b'{"a":{"b":{}}}')
    for size in range(len(line)):
        with pytest.raises(DecodeError):
            decode_line(line[:size])


def test_the_chain_hash_depends_on_the_whole_line() -> None:
    assert chain_hash(line_of(b"1")) != chain_hash(line_of(b"2"))
    assert len(chain_hash(b"")) == len(GENESIS)


def test_a_record_is_itself_by_its_event_id_or_else_by_its_time() -> None:
    assert identity(b'{"event_id":"m.1.1"}', TIME) == "m.1.1"
    assert identity(b"{}", TIME) == TIME
    assert identity(b"not json", TIME) == TIME
