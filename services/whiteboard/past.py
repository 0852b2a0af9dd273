"""The board as it was: one mission, a page of missions, or what changed, at any sequence that the journal still holds.

A mission that was over by then is as it is now. Only what was under way is folded anew, from its records up to then.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator
from itertools import islice, takewhile

import msgspec

from contracts.errors import Gone, NotFound
from contracts.lifecycle import TERMINAL, Status
from services.whiteboard import choosing, query, tables
from services.whiteboard.choosing import Filter, Range
from services.whiteboard.journal import Journal
from services.whiteboard.query import Page
from services.whiteboard.record import Record
from services.whiteboard.view import View, fold

_OPEN = tuple(status for status in Status if status not in TERMINAL)
_encode = msgspec.json.Encoder().encode
_decode_view = msgspec.json.Decoder(View).decode


class RecordsGone(Gone):
    """The records of that time are no longer in the journal."""


class Past:
    """Reads the index and the journal together; belongs to one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, journal: Journal) -> None:
        self.connection = connection
        self._journal = journal

    def mission(self, name: str, at: int) -> View:
        """Return a mission as it was after the record at a sequence; raises `NotFound` or `RecordsGone`."""
        found = query.mission(self.connection, name)
        if found.first_seq > at:
            self.check(at)  # it may have been proposed before, and that be gone
            raise NotFound(f"mission {found.mission_id} was proposed at {found.first_seq}, after {at}")
        return _decode_view(found.view) if found.seq <= at else self._folded(found.first_seq, at)

    def view(self, mission_id: str, at: int) -> View | None:
        """Return a mission as it was, or None where it had not been proposed; raises `RecordsGone`."""
        try:
            return self.mission(mission_id, at)
        except RecordsGone:
            raise
        except NotFound:
            return None

    def check(self, moment: int | str) -> None:
        """Raise `RecordsGone` for a moment before the journal begins."""
        seq, clock = query.cut(self.connection)
        if moment < seq if isinstance(moment, int) else moment < clock:
            raise RecordsGone(f"the journal begins behind sequence {seq}, of {clock}; what was before is gone")

    def page(self, wanted: Filter, within: Range, at: int) -> Page:
        """Return a page of the board as it was; raises `RecordsGone` or `TooSlow`."""
        within = Range(within.low, min(within.high, at + 1))
        with query.snapshot(self.connection):
            self.check(at)
            # the two have no mission in common: what was over, and what was under way
            found = heapq.merge(self._over(wanted, within, at), self._under_way(wanted, within, at), key=_newest)
            rows = list(islice(found, wanted.limit + 1))
            return query.page_of(rows, wanted.limit, at)

    def replay(self, after: int, until: int) -> Iterator[Record]:
        """Yield all records after a sequence up to another."""
        return takewhile(lambda record: record.seq <= until, self._journal.replay(after))

    def records(self, first_seq: int, until: int = choosing.LAST, *, after: int = 0, limit: int = -1) -> list[Record]:
        """Return the records of a mission up to a sequence; raises `RecordsGone` where one cannot be read any more."""
        places = query.places(self.connection, first_seq, after, limit, until)
        found = [self._journal.read(*place) for place in places]
        whole = [record for record in found if record is not None]
        if len(whole) < len(found):
            raise RecordsGone(
                f"{len(found) - len(whole)} of {len(found)} records cannot be read in the journal any more"
            )
        return whole

    def _folded(self, first_seq: int, at: int) -> View:
        carried = self._carried(first_seq)
        if carried is None or carried.seq > at:
            self.check(at)
        view = fold(self.records(first_seq, at), carried)
        if view is None:
            raise RecordsGone(f"the records of the mission proposed at {first_seq} tell nothing any more")
        return view

    def _carried(self, first_seq: int) -> View | None:
        row = self.connection.execute("SELECT view FROM carried WHERE first_seq = ?", (first_seq,)).fetchone()
        return _decode_view(row[0]) if row else None

    def _over(self, wanted: Filter, within: Range, at: int) -> Iterator[tuple[int, msgspec.Raw]]:
        if wanted.statuses is not None and not wanted.statuses & TERMINAL:
            return
        yield from query.views(self.connection, *choosing.settled(wanted, within, at))

    def _under_way(self, wanted: Filter, within: Range, at: int) -> Iterator[tuple[int, msgspec.Raw]]:
        statuses = wanted.statuses
        codes = {tables.CODES[status] for status in _OPEN if statuses is None or status in statuses}
        if not codes:
            return
        for first_seq, code in heapq.merge(*self._lists(wanted, within, at), key=_newest):
            if code in codes and wanted.lets_through(view := self._folded(first_seq, at)):
                yield first_seq, msgspec.Raw(_encode(view))

    def _lists(self, wanted: Filter, within: Range, at: int) -> Iterator[Iterator[tuple[int, int]]]:
        """Yield lists of what was under way, with the status it had: what still is, and what ended since, by life span.

        A mission that lived for less than 2^n sequences was proposed at most that long before: so little is read that
        does not count.
        """
        for status in _OPEN:
            yield self._list("status = ?", [status.value], wanted, within, at)
        for span in range(1, max(1, query.reflected(self.connection)).bit_length() + 1):
            low = max(within.low, at - 2**span + 1)
            yield self._list("span = ? AND seq > ?", [span, at], wanted, Range(low, within.high), at)

    def _list(
        self, condition: str, values: list[object], wanted: Filter, within: Range, at: int
    ) -> Iterator[tuple[int, int]]:
        conditions, more = choosing.columns(wanted)
        filters = " AND ".join([condition, "first_seq >= ? AND first_seq < ?", *conditions])
        statement = f"SELECT first_seq, {_STATUS_THEN} FROM missions WHERE {filters} ORDER BY first_seq DESC"  # noqa: S608
        return self.connection.execute(statement, [at, *values, within.low, within.high, *more])


_STATUS_THEN = (
    "coalesce((SELECT status FROM records WHERE records.first_seq = missions.first_seq AND records.seq <= ?"
    " ORDER BY records.seq DESC LIMIT 1), (SELECT status FROM carried WHERE carried.first_seq = missions.first_seq))"
)


def _newest(row: tuple[int, object]) -> int:
    return -row[0]
