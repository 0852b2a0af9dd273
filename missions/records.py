"""A record as a client sees it, whether it came from the whiteboard or from the broker."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts import subjects
from contracts.errors import DecodeError
from contracts.lifecycle import TERMINAL

_PROPOSED = "proposed"
_STREAM = "missions."


class Record(msgspec.Struct, frozen=True):
    """One change of one mission; `data` is the message as published, `time` the broker's in RFC 3339."""

    seq: int
    time: str
    subject: str
    data: Any

    @property
    def mission_id(self) -> str:
        """The mission that the subject names."""
        return self.subject.rpartition(".")[2]

    @property
    def status(self) -> str:
        """The status this record brought; a proposal brings `proposed`."""
        if subjects.is_proposal(self.subject):
            return _PROPOSED
        return str(self.data.get("status", "")) if isinstance(self.data, dict) else ""

    @property
    def terminal(self) -> bool:
        """Whether it is the last one of its mission."""
        return self.status in TERMINAL

    @property
    def about_a_mission(self) -> bool:
        """Whether the stream brought it; the whiteboard's own notes did not."""
        return self.subject.startswith(_STREAM)


_line_decoder = msgspec.json.Decoder(Record)


def from_line(line: bytes) -> Record:
    """Return the record that a line of the journal or of the whiteboard's feed is."""
    try:
        return _line_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"the whiteboard sent a line that is no record: {error}") from error
