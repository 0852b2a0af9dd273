"""Which sequence a time stands for. The broker's clock may be set back; here it stands still until it has caught up."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime

from services.whiteboard import query
from services.whiteboard.batch import TENTH
from services.whiteboard.journal import Journal

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DIGITS = 9  #: of a second, as the broker tells it


def written(text: str) -> str | None:
    """Return a time of RFC 3339 as records have it, to the nanosecond; None for what is none."""
    found = _TIME.fullmatch(text.upper())
    if found is None:
        return None
    try:
        time = datetime.fromisoformat(found[1] + found[3]).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    fraction = (found[2] or "")[:_DIGITS].ljust(_DIGITS, "0")
    return f"{time.replace(tzinfo=None).isoformat(timespec='seconds')}.{fraction}Z"


def first_at(connection: sqlite3.Connection, journal: Journal, time: str, *, after: bool = False) -> int:
    """Return the first sequence whose time is this or later (`after`: later); one behind the last where none is.

    The index knows the first sequence of each tenth of a second; within it the journal is read. Before the journal
    begins only proposals are known, of missions that were carried over.
    """
    tenth = time[:TENTH]
    later = "SELECT seq FROM moments WHERE tenth > ? ORDER BY tenth LIMIT 1"
    end: int = (connection.execute(later, (tenth,)).fetchone() or connection.execute(_BEHIND).fetchone() or (1,))[0]
    begin = connection.execute("SELECT seq FROM moments WHERE tenth = ?", (tenth,)).fetchone()
    if begin is None:
        return end
    cut, clock = query.cut(connection)
    if begin[0] <= cut and time <= clock:
        found = connection.execute(_CARRIED, (begin[0], min(end, cut + 1), time)).fetchone()
        return found[0] if found else min(end, cut + 1)
    for record in journal.replay(max(begin[0] - 1, cut)):
        if record.seq >= end:
            break
        if not record.is_note and (record.time > time if after else record.time >= time):
            return record.seq
    return end


_CARRIED = (
    "SELECT first_seq FROM carried WHERE first_seq >= ? AND first_seq < ? AND json_extract(view, '$.proposed_at') >= ?"
    " ORDER BY first_seq LIMIT 1"
)
_BEHIND = "SELECT last_seq + 1 FROM head"
