"""Which missions a filter chooses, as a statement that reads little however many missions there are.

Newest first, three ways: down the sequences, where only they are bounded; down the index of each status, where only
the status is asked for, or few missions have it and are looked at one by one; else through the search, which
intersects lists of sequences.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import product
from math import prod

import msgspec

from contracts.lifecycle import CORE, TERMINAL, Core, Status
from services.whiteboard import words
from services.whiteboard.view import View

DEFAULT_LIMIT = 50
MOST_ITEMS = 500
#: Behind every sequence.
LAST = 2**62
#: So many missions are looked at one by one.
FEW = 500
#: So many lists of missions, each of a queue, a kind and a status together, are read side by side.
_MOST_TOGETHER = 64

Statement = tuple[str, list[object]]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which missions: all that is given must hold, each by one of its values; newest first, before `before`."""

    status: tuple[str, ...] = ()
    core: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    conversation: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    q: str = ""
    since: str = ""
    until: str = ""
    as_of: int | str | None = None
    limit: int = DEFAULT_LIMIT
    before: int | None = None

    @property
    def statuses(self) -> frozenset[Status] | None:
        """The statuses that will do; None where any does."""
        if not self.status and not self.core:
            return None
        named = {Status(text) for text in self.status} or set(Status)
        cores = {Core(text) for text in self.core} or set(Core)
        return frozenset(status for status in named if CORE[status] in cores)

    @property
    def is_searched(self) -> bool:
        """Whether it asks for what only the search and the views know."""
        return bool(self.kind or self.q)

    def lets_through(self, view: View) -> bool:
        """Tell whether a view is wanted, its time apart."""
        return (
            (self.statuses is None or view.status in self.statuses)
            and (not self.queue or view.queue in self.queue)
            and (not self.conversation or view.conversation in self.conversation)
            and (not self.kind or not set(self.kind).isdisjoint(words.kinds(view)))
            and (not self.q or words.has_words(view, words.asked(self.q)))
        )


class Range(msgspec.Struct, frozen=True):
    """Which proposals: from `low` on, before `high`."""

    low: int = 0
    high: int = LAST


def are_few(connection: sqlite3.Connection, statuses: Iterable[Status]) -> bool:
    """Tell whether no more than `FEW` missions have one of these statuses."""
    names = [status.value for status in statuses]
    counted = f"SELECT count(*) FROM (SELECT 1 FROM missions WHERE status IN ({marks(names)}) LIMIT ?)"  # noqa: S608
    return bool(connection.execute(counted, [*names, FEW + 1]).fetchone()[0] <= FEW)


def statement(wanted: Filter, within: Range, *, few: bool = False) -> Statement:
    """Return the statement that yields the `first_seq` of what is wanted, newest first, without its limit."""
    statuses = wanted.statuses
    if statuses is not None and not statuses:
        return _NONE, []
    if statuses is None and not (wanted.is_searched or wanted.queue or wanted.conversation):
        return _ALL, [within.low, within.high]
    if statuses is not None and not wanted.is_searched and (few or not (wanted.queue or wanted.conversation)):
        return _by_status(wanted, statuses, within)
    return _SEARCH, [_expression(wanted), within.low, within.high]


def unsearched(wanted: Filter) -> Filter:
    """Return the filter without what only the search and the views know, for all of a few missions."""
    return msgspec.structs.replace(wanted, kind=(), q="", limit=FEW)


def settled(wanted: Filter, within: Range, at: int) -> Statement:
    """Return the statement for what was over at a sequence, newest first."""
    conditions = [_BETWEEN, "seq <= ?", "span IS NOT NULL"]
    values: list[object] = [within.low, within.high, at]
    if wanted.statuses is not None:
        names = tuple(status.value for status in wanted.statuses & TERMINAL)
        wanted = msgspec.structs.replace(wanted, status=names, core=())
        conditions.append(f"status IN ({marks(names)})")
        values += names
    if not (expression := _expression(wanted)):
        return f"SELECT first_seq FROM missions WHERE {' AND '.join(conditions)}{_NEWEST}", values  # noqa: S608
    return f"{_SETTLED}{' AND '.join(conditions[1:])} ORDER BY search.rowid DESC", [expression, *values]


def marks(values: Sequence[object]) -> str:
    """Return as many marks as there are values."""
    return ",".join("?" * len(values))


def columns(wanted: Filter) -> tuple[list[str], list[object]]:
    """Return the conditions on the columns of `missions`, and their values."""
    given = [("queue", wanted.queue), ("conversation", wanted.conversation)]
    conditions = [f"{column} IN ({marks(values)})" for column, values in given if values]
    return conditions, [value for _, values in given for value in values]


_BETWEEN = "first_seq >= ? AND first_seq < ?"
_NEWEST = " ORDER BY first_seq DESC"
_ALL = f"SELECT first_seq FROM missions WHERE {_BETWEEN}{_NEWEST}"  # noqa: S608 - our own text
_NONE = "SELECT first_seq FROM missions WHERE 0"
_SEARCH = "SELECT rowid AS first_seq FROM search WHERE search MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC"
_SETTLED = (
    "SELECT first_seq FROM search CROSS JOIN missions ON first_seq = search.rowid WHERE search MATCH ?"
    " AND search.rowid >= ? AND search.rowid < ? AND "
)


def _by_status(wanted: Filter, statuses: frozenset[Status], within: Range) -> Statement:
    """Read each status's index down on its own: SQLite would sort all of several at once."""
    conditions, more = columns(wanted)
    parts, values = [], list[object]()
    for status in statuses:
        filters = " AND ".join(["status = ?", _BETWEEN, *conditions])
        parts.append(f"SELECT * FROM (SELECT first_seq FROM missions WHERE {filters}{_NEWEST} LIMIT ?)")  # noqa: S608
        values += [status.value, within.low, within.high, *more, wanted.limit + 1]
    union = " UNION ALL ".join(parts)
    return f"SELECT first_seq FROM ({union}){_NEWEST}", values  # noqa: S608 - our own text


def _expression(wanted: Filter) -> str:
    """Return what the search is asked: every part in quotes, so that nobody's text is its syntax."""
    statuses = sorted(status.value for status in wanted.statuses or ())
    attributes = [("queue", wanted.queue), ("kind", wanted.kind), ("status", statuses)]
    terms = [[words.term(name, value) for value in values] for name, values in attributes if values]
    if prod(map(len, terms)) <= _MOST_TOGETHER:
        parts = [_any(map(words.together, product(*terms)))] if terms else []
    else:
        parts = [_any(each) for each in terms]
    if wanted.conversation:
        parts.append(_any(words.term("conversation", value) for value in wanted.conversation))
    parts += [f'"{word}"{" *" if prefix else ""}' for word, prefix in words.asked(wanted.q)]
    return " AND ".join(parts)


def _any(terms: Iterable[str]) -> str:
    return "(" + " OR ".join(f'"{term}"' for term in terms) + ")"
