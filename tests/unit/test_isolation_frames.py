"""What a handler's process says: taken apart however it arrives, and never more than a frame of it held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from contracts.messages import Progress
from services.executor.isolation import frames
from services.executor.isolation.frames import FromHandler, Garbled, Raised, Returned, Told, Unframer
from services.executor.reports.line import Progressed
from services.executor.runner import described

MESSAGES: list[FromHandler] = [
    Told(Progressed(Progress(done=1.0, total=2.0, note="half"))),
    Raised("handler_error", described("ValueError", "bad"), "Traceback"),
    Returned(Raw(b'{"a":[1,2,"3"]}')),
]


def unframer() -> Unframer[FromHandler]:
    return Unframer(frames.decode_from_handler)


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=20))
def test_messages_come_whole_however_they_are_cut(sizes: list[int]) -> None:
    stream = b"".join(frames.framed(message) for message in MESSAGES)
    taking, found = unframer(), []
    for size in [*sizes, len(stream)]:
        found += list(taking.feed(stream[:size]))
        stream = stream[size:]
    assert [frames.encode(message) for message in found] == [frames.encode(message) for message in MESSAGES]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_garbled(data: bytes) -> None:
    try:
        list(unframer().feed(data))
        list(unframer().feed(len(data).to_bytes(4) + data))
    except Garbled:
        return


def test_brackets_without_end_are_garbled() -> None:
    with pytest.raises(Garbled):
        list(unframer().feed(frames.framed(Returned(Raw(b"[" * 100_000)))))


def test_a_frame_that_is_too_long_is_refused_at_its_head() -> None:
    with pytest.raises(Garbled, match="a frame of"):
        list(unframer().feed((frames.MAX_FRAME_BYTES + 1).to_bytes(4)))
