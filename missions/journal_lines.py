"""A journal as its lines tell it, in files compressed or not: the whiteboard's own reader, without its lock."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import DecodeError
from services.whiteboard import segment_files, segments
from services.whiteboard.record import GENESIS, chain_hash, decode_line
from services.whiteboard.segment_files import OPEN_NAME, Segment


class Line(msgspec.Struct, frozen=True):
    """One line of the journal."""

    seq: int
    time: str
    subject: str
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
    parts = segment_files.sealed(folder)
    if (folder / OPEN_NAME).exists():
        parts.append(Segment(folder / OPEN_NAME, 0, 0, (folder / OPEN_NAME).stat().st_size))
    found: list[bytes] = []
    for part in parts:
        with closing(part.open()) as reading:
            found += [line for _, line, whole in segments.lines(reading) if whole]
    return found


def decode(line: bytes) -> Line:
    """Decode one line; raises `msgspec.DecodeError`."""
    return _decoder.decode(line)


def damaged(lines: Iterable[bytes]) -> list[int]:
    """Return the sequences of lines whose checksum is wrong, or that do not name the line before them."""
    found: list[int] = []
    before = GENESIS
    for line in lines:
        try:
            sound = decode_line(line).prev == before
        except DecodeError:
            sound = False
        if not sound:
            found.append(decode(line).seq)
        before = chain_hash(line)
    return found
