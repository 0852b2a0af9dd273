"""Reading a journal as anybody may who knows its format: independent of the code that writes it."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"')
_NO_LINE_BEFORE = "0" * 16


class Line(msgspec.Struct, frozen=True):
    """One line of the journal."""

    seq: int
    time: str
    subject: str
    crc: str
    prev: str
    data: dict[str, Any]

    @property
    def mission_id(self) -> str:
        """The mission that the subject names."""
        return self.subject.rpartition(".")[2]

    @property
    def status(self) -> str:
        """The status that this record brings; a proposal has none of its own."""
        return str(self.data.get("status", "proposed"))

    @property
    def goal(self) -> dict[str, Any]:
        """What it says about a goal; empty where it says nothing."""
        return dict(self.data.get("goal") or {})


_decoder = msgspec.json.Decoder(Line)


def read(folder: Path) -> list[bytes]:
    """Return the lines of every file of a journal, in the order they were written, without what is being written."""
    lines = [line for file in folder.glob("missions*.jsonl") for line in file.read_bytes().splitlines(keepends=True)]
    whole = [line.rstrip(b"\n") for line in lines if line.endswith(b"\n")]
    return sorted(whole, key=lambda line: decode(line).seq)


def decode(line: bytes) -> Line:
    """Decode one line; raises `msgspec.DecodeError`."""
    return _decoder.decode(line)


def damaged(lines: Iterable[bytes]) -> list[int]:
    """Return the sequences of lines whose checksum is wrong, or that do not name the line before them."""
    found: list[int] = []
    before = _NO_LINE_BEFORE
    for line in lines:
        decoded = decode(line)
        if decoded.crc != f"{zlib.crc32(_CRC.sub(b'', line, count=1)):08x}" or decoded.prev != before:
            found.append(decoded.seq)
        before = hashlib.sha256(line).hexdigest()[:16]
    return found
