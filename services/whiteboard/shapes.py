"""What the whiteboard answers, as types: for its description, and for whoever reads it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from contracts.messages import JournalRecord
from services.whiteboard.changes import Changed
from services.whiteboard.feed import Missed
from services.whiteboard.stats import Counts
from services.whiteboard.view import View


class Root(Struct, frozen=True):
    """Where to go from here."""

    service: str
    links: dict[str, str]
    seq: int


class MissionList(Struct, frozen=True):
    """A page of missions, newest first; `seq` is the sequence that it reflects."""

    items: list[View]
    next_cursor: str | None
    seq: int


class RecordList(Struct, frozen=True):
    """A page of a mission's lines of the journal, oldest first, and between which sequences some are gone."""

    mission_id: str
    items: list[JournalRecord]
    gaps: list[Missed]
    next_cursor: str | None
    seq: int


class ChangeList(Struct, frozen=True):
    """A page of missions that changed after the sequence `begin` up to `end`, by their first change."""

    items: list[Changed]
    next_cursor: str | None
    begin: int
    end: int
    seq: int


class RecordCounts(Struct, frozen=True):
    """Records that changed nothing: those that may not follow, and those that nobody can understand."""

    illegal: int
    unreadable: int


class JournalState(Struct, frozen=True):
    """How the journal is; `first_seq` is the first sequence that it still has."""

    seq: int
    first_seq: int
    size_bytes: int
    damaged_lines: int
    gaps: int
    forks: int


class Stats(Counts, frozen=True, kw_only=True):
    """The counts, and how the whiteboard itself is; `lag` is null while nobody knows."""

    records: RecordCounts
    journal: JournalState
    lag: int | None
    readers: int
    seq: int


#: A line of the feed is a record of the journal, as it stands there.
FEED: dict[str, Any] = {"text/event-stream": {"type": "string"}, "application/x-ndjson": {"type": "string"}}
