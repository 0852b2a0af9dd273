"""What an executor, its zygote and a handler's process tell each other: JSON, in frames of bounded size.

A zygote and its executor speak over a socket that keeps messages apart. A handler's process speaks over a stream of
its own, where each message follows its length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from contracts.artifacts import MAX_RESULT_BYTES
from contracts.messages import Failure, Question
from services.executor.reports.line import Facts, Said
from services.executor.reports.saves import Checkpointed

#: More than a result, a question or a line of a log can be.
MAX_FRAME_BYTES = MAX_RESULT_BYTES + 64 * 1024
#: More than any message between an executor and its zygote.
MAX_CONTROL_BYTES = 64 * 1024

_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size

Message = TypeVar("Message")


class Garbled(Exception):
    """These bytes are no frame of ours."""


class Limits(Struct, frozen=True):
    """What the process of one try may use."""

    memory_mb: float
    cpu_s: float
    output_kb: float
    file_mb: float


class Source(Struct, frozen=True):
    """Where a child process finds the function of a kind: by its module, or by its file if that has no such name."""

    module: str
    name: str
    file: str


class SetUp(Struct, frozen=True, tag=True):
    """The first word to a zygote: which functions it is for, and the folder below which handlers have theirs."""

    sources: tuple[Source, ...]
    folder: str


class Begin(Struct, frozen=True, tag=True):
    """Start the process of a try; its socket and its output come along as descriptors."""

    number: int
    folder: str
    limits: Limits


class Kill(Struct, frozen=True, tag=True):
    """End the process of a try, and its group."""

    number: int


class Ready(Struct, frozen=True, tag=True):
    """The zygote has imported everything. `threads`: how many there are; a fork is safe beside one."""

    threads: int


class Unready(Struct, frozen=True, tag=True):
    """The zygote cannot import the goals."""

    message: str


class Begun(Struct, frozen=True, tag=True):
    """The process of a try is there."""

    number: int
    pid: int


class Ended(Struct, frozen=True, tag=True):
    """The process of a try is gone, and all that it left behind. `problem`: why there was none."""

    number: int
    exit_code: int = 0  #: minus the signal that ended it
    cpu_s: float = 0.0
    problem: str = ""


class Job(Struct, frozen=True, tag=True):
    """What a handler is to do: the first word to its process."""

    kind: str
    params: dict[str, Any]
    facts: Facts


class StopWish(Struct, frozen=True, tag=True):
    """The handler should stop."""


class Settled(Struct, frozen=True, tag=True):
    """What became of a checkpoint: stored, or why not."""

    number: int
    problem: str = ""


class Told(Struct, frozen=True, tag=True):
    """What a handler says while it runs."""

    said: Said


class Saving(Struct, frozen=True, tag=True):
    """A checkpoint, which is answered by its number."""

    number: int
    saved: Checkpointed


class Returned(Struct, frozen=True, tag=True):
    """The handler is over, and this is its result."""

    result: Raw


class Raised(Struct, frozen=True, tag=True):
    """The handler is over, and failed."""

    reason: str
    failure: Failure
    traceback: str


class Asked(Struct, frozen=True, tag=True):
    """The handler is over for now: it asks a person."""

    question: Question


ToZygote = SetUp | Begin | Kill
FromZygote = Ready | Unready | Begun | Ended
ToHandler = Job | StopWish | Settled
FromHandler = Told | Saving | Returned | Raised | Asked

_encoder = msgspec.json.Encoder()
_from_handler: msgspec.json.Decoder[FromHandler] = msgspec.json.Decoder(FromHandler)
#: What is trusted: the zygote has nothing of a handler in it while it speaks.
decode_to_zygote: Callable[[bytes], ToZygote] = msgspec.json.Decoder(ToZygote).decode
decode_from_zygote: Callable[[bytes], FromZygote] = msgspec.json.Decoder(FromZygote).decode
decode_to_handler: Callable[[bytes], ToHandler] = msgspec.json.Decoder(ToHandler).decode


def encode(message: Struct) -> bytes:
    """Encode a message of the zygote's socket."""
    return _encoder.encode(message)


def framed(message: Struct) -> bytes:
    """Encode a message of a handler's stream."""
    data = _encoder.encode(message)
    return _LENGTH.pack(len(data)) + data


def decode_from_handler(data: bytes) -> FromHandler:
    """Decode what the process of a handler says; raises `Garbled`, for it may say anything."""
    try:
        return _from_handler.decode(data)
    except Exception as error:  # brackets without end, say
        raise Garbled(str(error)) from error


def length_of(head: bytes | bytearray) -> int:
    """Return how long the frame is that begins so."""
    return int(_LENGTH.unpack(head)[0])


class Unframer(Generic[Message]):
    """Takes the bytes of a stream apart, and holds no more than a frame of them."""

    def __init__(self, decode: Callable[[bytes], Message]) -> None:
        self._decode = decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are whole now; raises `Garbled`."""
        self._buffer += data
        while len(self._buffer) >= HEAD_BYTES:
            end = HEAD_BYTES + length_of(self._buffer[:HEAD_BYTES])
            if end > HEAD_BYTES + MAX_FRAME_BYTES:
                raise Garbled(f"a frame of {end - HEAD_BYTES} bytes, {MAX_FRAME_BYTES} are allowed")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[HEAD_BYTES:end])
            del self._buffer[:end]
            yield self._decode(frame)
