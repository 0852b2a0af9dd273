"""Questions to the index: filters, keyset cursors, one mission, where its records are."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic

import msgspec

from contracts.errors import ContractError, MissionsError, NotFound

DEFAULT_LIMIT = 50
MOST_ITEMS = 500
SHORTEST_PREFIX = 6
#: A question that takes longer is broken off.
ANSWER_WITHIN_S = 5.0
_STEPS_BETWEEN_LOOKS = 100_000
_COLUMNS = ("status", "core", "queue", "conversation")


class BadParameter(ContractError):
    """A parameter of a request cannot be understood; `hint` says what is allowed."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TooSlow(MissionsError):
    """The question takes too long: narrow it down."""


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
    limit: int = DEFAULT_LIMIT
    before: int | None = None


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
    return connection


def page(connection: sqlite3.Connection, wanted: Filter) -> Page:
    """Return one page, newest first; raises `TooSlow`."""
    conditions, values = _where(wanted)
    statement = (
        "SELECT first_seq, view FROM missions JOIN views USING (first_seq)"  # noqa: S608 - conditions are our own text
        f" WHERE {' AND '.join(conditions) or '1'} ORDER BY first_seq DESC LIMIT ?"
    )
    rows, seq = _answer(connection, statement, [*values, wanted.limit + 1])
    following = rows[wanted.limit - 1][0] if len(rows) > wanted.limit else None
    return Page([msgspec.Raw(view) for _, view in rows[: wanted.limit]], following, seq)


def mission(connection: sqlite3.Connection, text: str) -> Found:
    """Return the mission of this id, or of this prefix if only one has it; raises `NotFound` or `BadParameter`."""
    select = "SELECT mission_id, first_seq, seq, status, view FROM missions JOIN views USING (first_seq) WHERE "
    rows = connection.execute(select + "mission_id = ?", (text,)).fetchall()
    if not rows and len(text) >= SHORTEST_PREFIX:
        beginning = "mission_id >= ? AND mission_id < ? LIMIT 2"
        rows = connection.execute(select + beginning, (text, text + "\x7f")).fetchall()
    if not rows:
        raise NotFound(f"no mission {text[:64]!r} is known here")
    if len(rows) > 1:
        hint = f"Give more of it: {rows[0][0]}, {rows[1][0]}, …"
        raise BadParameter(f"{text!r} begins more than one mission id", hint)
    mission_id, first_seq, seq, status, view = rows[0]
    return Found(mission_id, first_seq, seq, status, view.encode())


def places(connection: sqlite3.Connection, first_seq: int, after: int, limit: int) -> list[tuple[int, int]]:
    """Return (sequence, offset in the segment) of a mission's records after a sequence."""
    statement = "SELECT seq, place FROM records WHERE first_seq = ? AND seq > ? ORDER BY seq LIMIT ?"
    return connection.execute(statement, (first_seq, after, limit)).fetchall()


def conversation_of(connection: sqlite3.Connection, mission_id: str) -> str | None:
    """Return the conversation of a mission, or None where it is unknown."""
    row = connection.execute("SELECT conversation FROM missions WHERE mission_id = ?", (mission_id,)).fetchone()
    return row[0] if row else None


def reflected(connection: sqlite3.Connection) -> int:
    """Return the last sequence that the index reflects."""
    row = connection.execute("SELECT last_seq FROM head").fetchone()
    return row[0] if row else 0


def _where(wanted: Filter) -> tuple[list[str], list[object]]:
    """Return the conditions that hold for what is wanted, and their values."""
    of_kind = f"first_seq IN (SELECT first_seq FROM kinds WHERE kind IN ({_marks(wanted.kind)}))"  # noqa: S608 - marks
    like = (f"%{_literally(wanted.q)}%",) if wanted.q else ()
    possible: list[tuple[str, tuple[object, ...]]] = [
        *((f"{column} IN ({_marks(getattr(wanted, column))})", getattr(wanted, column)) for column in _COLUMNS),
        (of_kind, wanted.kind),
        ("view LIKE ? ESCAPE '!'", like),
        ("proposed_at >= ?", (wanted.since,) if wanted.since else ()),
        ("proposed_at < ?", (wanted.until,) if wanted.until else ()),
        ("first_seq < ?", () if wanted.before is None else (wanted.before,)),
    ]
    given = [(condition, values) for condition, values in possible if values]
    return [condition for condition, _ in given], [value for _, values in given for value in values]


def _marks(values: tuple[str, ...]) -> str:
    return ",".join("?" * len(values))


def _literally(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _answer(
    connection: sqlite3.Connection, statement: str, values: list[object]
) -> tuple[list[tuple[int, bytes]], int]:
    """Run a statement and read the sequence in one snapshot, within `ANSWER_WITHIN_S`."""
    until = monotonic() + ANSWER_WITHIN_S
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS_BETWEEN_LOOKS)
    try:
        connection.execute("BEGIN")
        try:
            rows = [(first_seq, view.encode()) for first_seq, view in connection.execute(statement, values)]
            return rows, reflected(connection)
        finally:
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise TooSlow from error
    finally:
        connection.set_progress_handler(None, 0)
