"""The fold of one batch of records: what it changes, before anything is written. Pure."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter

import msgspec

from contracts.errors import DecodeError, IllegalTransition
from services.whiteboard import tables, words
from services.whiteboard import view as rules
from services.whiteboard.files import Head
from services.whiteboard.record import CUT, FORK, GAP, MINUTES, RENEWED, VIEW, Record, chain_hash
from services.whiteboard.tally import Minute, Tally
from services.whiteboard.view import View

#: Characters of a time down to the tenth of a second.
TENTH = 21

_encode = msgspec.json.Encoder().encode
_decode_view = msgspec.json.Decoder(View).decode
_decode_minutes = msgspec.json.Decoder(list[tuple[Minute, int]]).decode
_decode_head = msgspec.json.Decoder(Head).decode


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
        self.carried: list[tuple[int, int, str]] = []  #: (first_seq, status, view) as retention carried them over
        self.cut: Head | None = None  #: where the journal begins, if that was said
        self.clock = clock
        self._counts: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        """Fold one record; one that breaks the rules is counted and changes nothing."""
        if record.is_note:
            self._add_note(record)
            return
        self._tick(record.time, record.seq)
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

    def _tick(self, time: str, seq: int) -> None:
        if time[:TENTH] > self.clock[:TENTH]:
            self.moments.append((time[:TENTH], seq))
        self.clock = max(self.clock, time)

    def _add_note(self, record: Record) -> None:
        if record.subject.startswith(VIEW):
            self._carry(record.data)
        elif record.subject == MINUTES:
            self.tally.minutes.update(dict(_decode_minutes(record.data)))
        elif record.subject == CUT:
            self.cut = _decode_head(record.data)
            self._tick(self.cut.clock, self.cut.last_seq)
        else:
            self._counts[record.subject] += 1

    def _carry(self, data: bytes) -> None:
        view = _decode_view(data)
        self._tick(view.proposed_at, view.first_seq)
        self.changed[view.mission_id] = self.views[view.mission_id] = view
        self.carried.append((view.first_seq, tables.CODES[view.status], data.decode()))

    def rows(self) -> tuple[list[View], list[View]]:
        """Return the missions to insert and those to update, their JSON made."""
        self.texts = {mission_id: _encode(view).decode() for mission_id, view in self.changed.items()}
        new = [view for mission_id, view in self.changed.items() if mission_id not in self.before]
        old = [view for mission_id, view in self.changed.items() if mission_id in self.before]
        return new, old

    def terms(self) -> list[tuple[str | None, int, str]]:
        """Return what the search has to delete and to add, by sequence: it writes a part whenever it must go back."""
        found: list[tuple[str | None, int, str]] = []
        for mission_id, view in self.changed.items():
            before = self.before.get(mission_id)
            if before is None:
                found.append((None, view.first_seq, words.document(view)))
            elif before.status is not view.status:
                found.append(("delete", view.first_seq, words.taken(before)))
                found.append((None, view.first_seq, words.added(view)))
        return sorted(found, key=itemgetter(1))

    def head_after(self, head: Head, last: Record) -> Head:
        """Return the head behind this batch."""
        base = self.cut or head
        return Head(
            last_seq=last.seq,
            last_hash=base.last_hash if last.subject == CUT else chain_hash(last.line),
            illegal=base.illegal + self._counts["illegal"],
            unreadable=base.unreadable + len(self.unreadable),
            gaps=base.gaps + self._counts[GAP] + self._counts[RENEWED],
            forks=base.forks + self._counts[FORK],
            clock=self.clock,
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
