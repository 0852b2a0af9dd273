"""The fold of one batch of records: what it changes, before anything is written. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from contracts.errors import DecodeError, IllegalTransition
from services.whiteboard import view as rules
from services.whiteboard.record import FORK, GAP, GENESIS, Record, chain_hash
from services.whiteboard.view import View

_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True):
    """How much of which journal the index reflects, and what it met there."""

    last_seq: int = 0
    last_hash: str = GENESIS
    illegal: int = 0
    unreadable: int = 0
    gaps: int = 0
    forks: int = 0


class Batch:
    """The fold of one batch, before it is written."""

    def __init__(self, views: dict[str, View]) -> None:
        self.views = views
        self.before = {mission_id: view.status.value for mission_id, view in views.items()}
        self.changed: dict[str, View] = {}
        self.texts: dict[str, str] = {}
        self.places: list[tuple[int, int, int]] = []  #: (first_seq, seq, offset)
        self.unreadable: list[tuple[Record, str]] = []
        self._counts: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        """Fold one record; one that breaks the rules is counted and changes nothing."""
        if record.is_note:
            self._counts[record.subject] += 1
            return
        mission_id = record.mission_id
        view = self.views.get(mission_id)
        try:
            view = self.changed[mission_id] = self.views[mission_id] = rules.apply(view, record)
        except IllegalTransition:
            self._counts["illegal"] += 1
        except DecodeError as error:
            self.unreadable.append((record, str(error)))
        if view is not None:
            self.places.append((view.first_seq, record.seq, record.offset))

    def rows(self) -> tuple[list[View], list[View]]:
        """Return the missions to insert and those to update, their JSON made."""
        self.texts = {mission_id: _encode(view).decode() for mission_id, view in self.changed.items()}
        new = [view for mission_id, view in self.changed.items() if mission_id not in self.before]
        old = [view for mission_id, view in self.changed.items() if mission_id in self.before]
        return new, old

    def head_after(self, head: Head, last: Record) -> Head:
        """Return the head behind this batch."""
        return Head(
            last_seq=last.seq,
            last_hash=chain_hash(last.line),
            illegal=head.illegal + self._counts["illegal"],
            unreadable=head.unreadable + len(self.unreadable),
            gaps=head.gaps + self._counts[GAP],
            forks=head.forks + self._counts[FORK],
        )


def mission_row(view: View) -> tuple[object, ...]:
    """Return the row of a new mission."""
    return (
        view.first_seq,
        view.mission_id,
        view.seq,
        view.status.value,
        view.core.value,
        view.queue,
        view.conversation,
        view.proposed_at,
    )
