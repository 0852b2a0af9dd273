"""One line of the journal: bytes to a record and back. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import Protocol
from zlib import crc32

import msgspec

from contracts import codec
from contracts.errors import DecodeError

#: What the first line of a journal is chained to.
GENESIS = "0" * 16
#: Records of our own: what the stream lost, where it is not the stream that we know, where it was made anew above our
#: last sequence, and where `missions journal restore-stream` filled it from this journal.
GAP = "whiteboard.gap"
FORK = "whiteboard.fork"
RENEWED = "whiteboard.renewed"
RESTORED = "whiteboard.restored"
#: What retention carried over: a mission's view, the counts of the last minutes, and, last, where the journal begins.
VIEW = "whiteboard.view."
MINUTES = "whiteboard.minutes"
CUT = "whiteboard.cut"

_OWN = "whiteboard."
_CONTROL = bytes(range(0x20))
#: Below this many bytes nothing nests deep enough to matter.
_SHALLOW = 1_000
_FRAME = re.compile(
    rb'\{"seq":(\d{1,19}),"time":"([^"]*)","subject":("(?:[^"\\]++|\\.)*+")(,"crc":"([0-9a-f]{8})"),'
    rb'"prev":"([0-9a-f]{16})",(?:("encoding":"base64"),)?"data":',
    re.DOTALL,
)

_encode = msgspec.json.Encoder().encode
_decode_string = msgspec.json.Decoder(str).decode
_skim = msgspec.json.Decoder(msgspec.Raw).decode


class Arrival(Protocol):
    """What can be appended: a message of the stream as it came."""

    @property
    def seq(self) -> int: ...
    @property
    def time(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...


class Note(msgspec.Struct, frozen=True):
    """Something that the whiteboard itself has to say, under a subject of its own."""

    seq: int
    time: str
    subject: str
    data: bytes


class _Made(msgspec.Struct, frozen=True):
    created: str = ""


_decode_note = msgspec.json.Decoder(_Made).decode


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of the journal: the message, its line without the newline, where that starts in its segment."""

    seq: int
    time: str
    subject: str
    data: bytes
    line: bytes
    offset: int = 0

    @property
    def is_note(self) -> bool:
        """Whether the whiteboard wrote it, not the stream."""
        return self.subject.startswith(_OWN)

    @property
    def mission_id(self) -> str:
        """The mission that its subject names."""
        return self.subject.rpartition(".")[2]

    @property
    def prev(self) -> str:
        """What it says about the line before."""
        start = self.line.index(b'"prev":"') + 8
        return self.line[start : start + 16].decode()


def encode_line(arrival: Arrival, prev: str) -> bytes:
    """Return the line of a message, without its newline."""
    head = b'{"seq":%d,"time":"%b","subject":%b' % (arrival.seq, arrival.time.encode(), _encode(arrival.subject))
    tail = b',"prev":"%b",%b}' % (prev.encode(), embed(arrival.data))
    return b'%b,"crc":"%08x"%b' % (head, crc32(tail, crc32(head)), tail)


def embed(data: bytes) -> bytes:
    """Return the `data` member: the bytes as they came if they are one line of JSON, else the least changed form.

    JSON of several lines loses its white space; what is not JSON at all stands in base64, marked by `encoding`.
    """
    try:
        _skim(data)
        if len(data) > _SHALLOW:
            codec.check_limits(data)
        if not data.isascii():
            data.decode()
        one_line = len(data.translate(None, _CONTROL)) == len(data)
        return b'"data":' + (data if one_line else msgspec.json.format(data, indent=-1))
    except Exception:  # noqa: BLE001 - outside bytes: whatever is wrong with them, they are kept
        return b'"encoding":"base64","data":"%b"' % base64.b64encode(data)


def decode_line(line: bytes, offset: int = 0) -> Record:
    """Read a line back; raises `DecodeError` for one that is torn or damaged."""
    frame = _FRAME.match(line)
    if frame is None or not line.endswith(b"}"):
        raise DecodeError("not a line of the journal")
    if int(frame[5], 16) != crc32(line[frame.end(4) :], crc32(line[: frame.start(4)])):
        raise DecodeError("the checksum does not match")
    data = line[frame.end() : -1]
    try:
        return Record(
            int(frame[1]),
            frame[2].decode(),
            _decode_string(frame[3]),
            base64.b64decode(data[1:-1], validate=True) if frame[7] else data,
            line,
            offset,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error) as error:
        raise DecodeError(f"not a line of the journal: {error}") from error


def chain_hash(line: bytes) -> str:
    """Return what the next line holds as `prev`."""
    return sha256(line).hexdigest()[:16]


def created_of(record: Record, known: str) -> str:
    """Return when the stream was made that a note speaks of, or what is `known`; a message answers for itself."""
    if record.subject in {RENEWED, RESTORED}:
        return _decode_note(record.data).created
    return known if record.is_note else ""


def identity(data: bytes, time: str) -> str:
    """Return what makes a record itself beside its sequence: the event id, or else the broker's time."""
    return codec.event_id_of(data) or time
