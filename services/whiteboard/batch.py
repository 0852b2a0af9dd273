"""The fold of one batch of records: what it changes, before anything is written. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from contracts.errors import DecodeError, IllegalTransition
from services.whiteboard import tables, words
from services.whiteboard import view as rules
from services.whiteboard.record import FORK, GAP, GENESIS, Record, chain_hash
from services.whiteboard.tally import Tally
from services.whiteboard.view import View

#: Characters of a time down to the tenth of a second.
TENTH = 21

_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True):
    """How much of which journal the index reflects, and what it met there."""

    last_seq: int = 0
    last_hash: str = GENESIS
    illegal: int = 0
    unreadable: int = 0
    gaps: int = 0
    forks: int = 0
    clock: str = ""  #: the latest time that a record has: what "at this time" means, as sequences know no way back


class Batch:
    """The fold of one batch, before it is written."""

    def __init__(self, views: dict[str, View], clock: str = "") -> None:
        self.views = views
        self.before = dict(views)
        self.changed: dict[str, View] = {}
        self.texts: dict[str, str] = {}
        self.places: list[tuple[int, int, int, int]] = []  #: (first_seq, seq, offset, status)
        self.moments: list[tuple[str, int]] = []  #: (tenth of a second, its first sequence)
        self.tally = Tally()
        self.unreadable: list[tuple[Record, str]] = []
        self._clock = clock
        self._counts: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        """Fold one record; one that breaks the rules is counted and changes nothing."""
        if record.is_note:
            self._counts[record.subject] += 1
            return
        self._tick(record)
        mission_id = record.mission_id
        view = before = self.views.get(mission_id)
        try:
            view = self.changed[mission_id] = self.views[mission_id] = rules.apply(before, record)
        except IllegalTransition:
            self._counts["illegal"] += 1
        except DecodeError as error:
            self.unreadable.append((record, str(error)))
        if view is not None:
            self.places.append((view.first_seq, record.seq, record.offset, tables.CODES[view.status]))
            if view is not before:
                self.tally.add(before, view)

    def _tick(self, record: Record) -> None:
        if record.time[:TENTH] > self._clock[:TENTH]:
            self.moments.append((record.time[:TENTH], record.seq))
        self._clock = max(self._clock, record.time)

    def rows(self) -> tuple[list[View], list[View]]:
        """Return the missions to insert and those to update, their JSON made."""
        self.texts = {mission_id: _encode(view).decode() for mission_id, view in self.changed.items()}
        new = [view for mission_id, view in self.changed.items() if mission_id not in self.before]
        old = [view for mission_id, view in self.changed.items() if mission_id in self.before]
        return new, old

    def documents(self) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Return the documents that go out of the search and those that come in: at the proposal and at the end."""
        out, into = [], []
        for mission_id, view in self.changed.items():
            before = self.before.get(mission_id)
            if before is not None and view.is_over and not before.is_over:
                out.append((before.first_seq, words.document(before)))
            if before is None or (view.is_over and not before.is_over):
                into.append((view.first_seq, words.document(view)))
        return out, into

    def head_after(self, head: Head, last: Record) -> Head:
        """Return the head behind this batch."""
        return Head(
            last_seq=last.seq,
            last_hash=chain_hash(last.line),
            illegal=head.illegal + self._counts["illegal"],
            unreadable=head.unreadable + len(self.unreadable),
            gaps=head.gaps + self._counts[GAP],
            forks=head.forks + self._counts[FORK],
            clock=self._clock,
        )


def mission_row(view: View) -> tuple[object, ...]:
    """Return the row of a new mission."""
    return (
        view.first_seq,
        view.mission_id,
        view.seq,
        view.status.value,
        view.queue,
        view.conversation,
        span(view),
    )


def span(view: View) -> int | None:
    """Return the number of bits of how many sequences a mission lived; None while it lives."""
    return (view.seq - view.first_seq).bit_length() if view.is_over else None
