"""Which records a reader of the feed wants. What a record's mission is, is found out once for all readers."""

from __future__ import annotations

import itertools
import sqlite3
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from contracts import subjects
from contracts.errors import ContractError
from contracts.lifecycle import CORE, Core, Status
from services.whiteboard import query
from services.whiteboard.feed import Wanted
from services.whiteboard.record import Record
from services.whiteboard.said import read_proposal

_MOST_MISSIONS = 20_000
_MOST_RECORDS = 8_192


class Selection(Struct, frozen=True, kw_only=True):
    """What a reader wants: all that is given must hold, each by one of its values."""

    mission_id: frozenset[str] = frozenset()
    queue: frozenset[str] = frozenset()
    conversation: frozenset[str] = frozenset()
    kind: frozenset[str] = frozenset()
    status: frozenset[str] = frozenset()
    core: frozenset[str] = frozenset()


class _Origin(Struct, frozen=True):
    """What the mission of a record is."""

    conversation: str
    kinds: frozenset[str]


class _Kind(Struct, frozen=True):
    kind: str


class _Shown(Struct, frozen=True):
    conversation: str = ""
    goals: tuple[_Kind, ...] = ()


class _Said(Struct, frozen=True):
    status: str = ""


_decode_shown = msgspec.json.Decoder(_Shown).decode
_decode_said = msgspec.json.Decoder(_Said).decode
_NOBODY = _Origin("", frozenset())

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Recent(dict[Key, Value], Generic[Key, Value]):
    """The last values that were needed, a bounded number of them."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: Key, value: Value) -> Value:
        """Keep a value, and forget the oldest eighth of all where there are too many."""
        if len(self) >= self._most:
            for old in list(itertools.islice(self, self._most // 8)):
                del self[old]
        self[key] = value
        return value


class Selector:
    """Makes the tests that records must pass; lives on the event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._origins: _Recent[str, _Origin] = _Recent(_MOST_MISSIONS)
        self._statuses: _Recent[int, str] = _Recent(_MOST_RECORDS)

    def wanting(self, selection: Selection) -> Wanted:
        """Return the test of a selection; what is cheap is asked first."""
        if selection == Selection():
            return lambda _: True

        def wanted(record: Record) -> bool:
            return not record.is_note and self._fits(record, selection)

        return wanted

    def _fits(self, record: Record, wanted: Selection) -> bool:
        if wanted.mission_id and record.mission_id not in wanted.mission_id:
            return False
        if wanted.queue and record.subject.split(".")[2] not in wanted.queue:
            return False
        if (wanted.status or wanted.core) and not self._has_status(record, wanted):
            return False
        if not (wanted.conversation or wanted.kind):
            return True
        origin = self._origin(record)
        if wanted.conversation and origin.conversation not in wanted.conversation:
            return False
        return not wanted.kind or not wanted.kind.isdisjoint(origin.kinds)

    def _has_status(self, record: Record, wanted: Selection) -> bool:
        status = self._statuses.get(record.seq) or self._statuses.keep(record.seq, _status(record))
        if wanted.status and status not in wanted.status:
            return False
        return not wanted.core or _core(status) in wanted.core

    def _origin(self, record: Record) -> _Origin:
        known = self._origins.get(record.mission_id)
        if known is None:
            known = self._found(record)
            if known is not _NOBODY:
                self._origins.keep(record.mission_id, known)
        return known

    def _found(self, record: Record) -> _Origin:
        if subjects.is_proposal(record.subject):
            try:
                said = read_proposal(record)
            except ContractError:
                return _NOBODY
            return _Origin(said.conversation, frozenset(goal.kind for goal in said.goals))
        view = query.view_of(self._connection, record.mission_id)
        if view is None:
            return _NOBODY
        shown = _decode_shown(view)
        return _Origin(shown.conversation, frozenset(goal.kind for goal in shown.goals))


def _status(record: Record) -> str:
    """Return the status that a record tells, as it stands there."""
    if subjects.is_proposal(record.subject):
        return Status.PROPOSED
    try:
        return _decode_said(record.data).status or "?"
    except msgspec.MsgspecError:
        return "?"


def _core(status: str) -> Core | None:
    return CORE[Status(status)] if status in set(Status) else None
