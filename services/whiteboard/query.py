"""Questions to the index: filters, keyset cursors, one mission, where its records are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic

import msgspec

from contracts.errors import ContractError, MissionsError, NotFound
from services.whiteboard import choosing
from services.whiteboard.choosing import Filter, Range
from services.whiteboard.view import View

SHORTEST_PREFIX = 6
#: A question that takes longer is broken off.
ANSWER_WITHIN_S = 5.0
_STEPS_BETWEEN_LOOKS = 100_000
#: The inner pages of the trees of a million missions; SQLite's own 2 MB read some of them anew for every question.
_CACHE_KIB = 8_000

_decode_view = msgspec.json.Decoder(View).decode
_FOUND = "SELECT mission_id, first_seq, seq, status, view FROM missions JOIN views USING (first_seq) WHERE "
_BY_ID = _FOUND + "mission_id = ?"
_BY_PREFIX = _FOUND + "mission_id >= ? AND mission_id < ? LIMIT 2"


class BadParameter(ContractError):
    """A parameter of a request cannot be understood; `hint` says what is allowed."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TooSlow(MissionsError):
    """The question takes too long: narrow it down."""


class Page(msgspec.Struct, frozen=True):
    """A part of a list, what `before` the next part has, and the sequence that it reflects."""

    items: list[msgspec.Raw]
    following: int | None
    seq: int


class Found(msgspec.Struct, frozen=True):
    """One mission as the index has it: `view` is its JSON."""

    mission_id: str
    first_seq: int
    seq: int
    status: str
    view: bytes


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads; it may move between threads, but not be shared by two at once."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def page(connection: sqlite3.Connection, wanted: Filter, within: Range) -> Page:
    """Return one page, newest first; raises `TooSlow`."""
    with snapshot(connection):
        rows: Iterator[tuple[int, msgspec.Raw]]
        few = wanted.statuses is not None and choosing.are_few(connection, wanted.statuses)
        if few and wanted.is_searched:
            found = views(connection, *choosing.statement(choosing.unsearched(wanted), within, few=True))
            rows = (row for row in found if wanted.lets_through(_decode_view(row[1])))
        else:
            rows = views(connection, *choosing.statement(wanted, within, few=few))
        return page_of(list(islice(rows, wanted.limit + 1)), wanted.limit, reflected(connection))


def views(connection: sqlite3.Connection, chosen: str, values: list[object]) -> Iterator[tuple[int, msgspec.Raw]]:
    """Yield the views of what a statement chooses, one by one: most are never asked for."""
    for (first_seq,) in connection.execute(chosen, values):
        row = connection.execute("SELECT view FROM views WHERE first_seq = ?", (first_seq,)).fetchone()
        yield first_seq, msgspec.Raw(row[0])


def page_of(rows: list[tuple[int, msgspec.Raw]], limit: int, seq: int) -> Page:
    """Return a page of rows of which there may be one more than asked for."""
    following = rows[limit - 1][0] if len(rows) > limit else None
    return Page([view for _, view in rows[:limit]], following, seq)


def unknown(text: str) -> NotFound:
    """Return the error that there is no mission of this id or prefix."""
    hint = "" if len(text) >= SHORTEST_PREFIX else f"; give at least {SHORTEST_PREFIX} characters of its id"
    return NotFound(f"no mission {text[:64]!r} is known here{hint}")


def mission(connection: sqlite3.Connection, text: str) -> Found:
    """Return the mission of this id, or of this prefix if only one has it; raises `NotFound` or `BadParameter`."""
    rows = connection.execute(_BY_ID, (text,)).fetchall()
    if not rows and len(text) >= SHORTEST_PREFIX:
        rows = connection.execute(_BY_PREFIX, (text, text + "\x7f")).fetchall()
    if not rows:
        raise unknown(text)
    if len(rows) > 1:
        hint = f"Give more of it: {rows[0][0]}, {rows[1][0]}, …"
        raise BadParameter(f"{text!r} begins more than one mission id", hint)
    mission_id, first_seq, seq, status, view = rows[0]
    return Found(mission_id, first_seq, seq, status, view.encode())


def places(
    connection: sqlite3.Connection, first_seq: int, after: int, limit: int, until: int = choosing.LAST
) -> list[tuple[int, int]]:
    """Return (sequence, offset in the segment) of a mission's records after a sequence, up to another."""
    statement = "SELECT seq, place FROM records WHERE first_seq = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    return connection.execute(statement, (first_seq, after, until, limit)).fetchall()


def first_seq_of(connection: sqlite3.Connection, mission_id: str) -> int | None:
    """Return the sequence of a mission's proposal, or None where it is unknown."""
    row = connection.execute("SELECT first_seq FROM missions WHERE mission_id = ?", (mission_id,)).fetchone()
    return row[0] if row else None


def view_of(connection: sqlite3.Connection, mission_id: str) -> bytes | None:
    """Return the JSON of a mission's view, or None where it is unknown."""
    statement = "SELECT view FROM missions JOIN views USING (first_seq) WHERE mission_id = ?"
    row = connection.execute(statement, (mission_id,)).fetchone()
    return row[0].encode() if row else None


def reflected(connection: sqlite3.Connection) -> int:
    """Return the last sequence that the index reflects."""
    row = connection.execute("SELECT last_seq FROM head").fetchone()
    return row[0] if row else 0


def cut(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the sequence and the time behind which the journal begins."""
    return connection.execute("SELECT seq, clock FROM cut").fetchone() or (0, "")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let everything inside see the index as it is now, for at most `ANSWER_WITHIN_S`; raises `TooSlow`."""
    until = monotonic() + ANSWER_WITHIN_S
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise TooSlow(f"finding these missions takes longer than {ANSWER_WITHIN_S:g} s") from error
    finally:
        connection.set_progress_handler(None, 0)
