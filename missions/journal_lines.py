"""A journal as its lines tell it, in files compressed or not: the whiteboard's own reader, without its lock."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from services.whiteboard import checking, segments
from services.whiteboard.checking import Checked


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
    found: list[bytes] = []
    for _, reading in checking.readings(folder, Checked()):
        with closing(reading):
            found += [line for _, line, whole in segments.lines(reading) if whole]
    return found


def decode(line: bytes) -> Line:
    """Decode one line; raises `msgspec.DecodeError`."""
    return _decoder.decode(line)


def damaged(folder: Path) -> list[str]:
    """Return what is wrong in a journal, as `missions journal verify` says it."""
    findings = checking.check(folder, Checked())
    return [f"{finding.file}:{finding.line}: {finding.problem}" for finding in findings if not finding.torn]
