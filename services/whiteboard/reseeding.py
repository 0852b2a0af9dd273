"""What a broker that lost its disk must be told again, so that open missions go on and those that are over stay so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec

from contracts import subjects
from contracts.lifecycle import TERMINAL, Status
from services.whiteboard import query
from services.whiteboard.journal import Journal
from services.whiteboard.reader import Reader
from services.whiteboard.record import Record

_MOST_RECORDS = 100_000
_OVER = tuple(sorted(status.value for status in TERMINAL))
_WAITING = (Status.WAITING.value,)


class Reseed(msgspec.Struct, frozen=True):
    """One mission's messages, in the order in which they were written; none where its proposal is gone."""

    mission_id: str
    status: str
    queue: str
    records: tuple[Record, ...]

    @property
    def is_open(self) -> bool:
        """Whether it has no outcome yet."""
        return self.status not in _OVER


def over(journal: Journal, connection: sqlite3.Connection) -> Iterator[Reseed]:
    """Yield the missions that are over: the proposal makes a repeat known, the outcome refuses what follows."""
    yield from _reseeds(journal, connection, f"status IN ({_marks(_OVER)})", _OVER)


def waiting(journal: Journal, connection: sqlite3.Connection) -> Iterator[Reseed]:
    """Yield the missions that wait for somebody: their work items were acknowledged, and must not come again."""
    yield from _reseeds(journal, connection, "status = ?", _WAITING)


def under_way(journal: Journal, connection: sqlite3.Connection) -> Iterator[Reseed]:
    """Yield the missions whose work items executors must get."""
    values = (*_OVER, *_WAITING)
    yield from _reseeds(journal, connection, f"status NOT IN ({_marks(values)})", values)


def _marks(values: tuple[str, ...]) -> str:
    return ",".join("?" * len(values))


def _reseeds(
    journal: Journal, connection: sqlite3.Connection, condition: str, values: tuple[str, ...]
) -> Iterator[Reseed]:
    statement = f"SELECT first_seq, mission_id, status, queue FROM missions WHERE {condition} ORDER BY first_seq"  # noqa: S608 - ours
    with closing(Reader(journal)) as reader:
        for first_seq, mission_id, status, queue in connection.execute(statement, values):
            places = query.places(connection, first_seq, 0, _MOST_RECORDS)
            found = [record for record in (reader.read(*place) for place in places) if record is not None]
            yield Reseed(mission_id, status, queue, _chosen(found, is_over=status in _OVER))


def _chosen(found: list[Record], *, is_over: bool) -> tuple[Record, ...]:
    """Choose the last proposal, and of the statuses all, from which a later attempt resumes, or the outcome alone."""
    proposals = [record for record in found if subjects.is_proposal(record.subject)]
    if not proposals:
        return ()
    statuses = [record for record in found if not subjects.is_proposal(record.subject)]
    return tuple(sorted([proposals[-1], *_outcome(statuses)] if is_over else [proposals[-1], *statuses], key=_seq))


def _outcome(statuses: list[Record]) -> list[Record]:
    """Return the first record that ended the mission: what came after it was illegal."""
    return next(([record] for record in statuses if _status(record) in _OVER), [])


class _Said(msgspec.Struct, frozen=True):
    status: str = ""


_decode = msgspec.json.Decoder(_Said).decode


def _status(record: Record) -> str:
    try:
        return _decode(record.data).status
    except msgspec.MsgspecError:
        return ""


def _seq(record: Record) -> int:
    return record.seq
