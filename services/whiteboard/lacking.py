"""What the index lacks: records that were damaged when it read past them, and have been repaired since."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from services.whiteboard.batch import Batch
from services.whiteboard.record import Record


def first_lacking(connection: sqlite3.Connection, records: Iterable[Record], first: int, last: int) -> int | None:
    """Return the sequence of the first of these records that the index has not, or at another place; None for none."""
    rows = connection.execute("SELECT seq, place FROM records WHERE seq BETWEEN ? AND ?", (first, last))
    places = dict(rows.fetchall())
    for record in records:
        place = places.get(record.seq)
        if not record.is_note and place != record.offset and (place is not None or _belongs(connection, record)):
            return record.seq
    return None


def _belongs(connection: sqlite3.Connection, record: Record) -> bool:
    """Tell whether a record is part of a mission: some are of none, for they cannot be understood."""
    known = connection.execute("SELECT first_seq FROM missions WHERE mission_id = ?", (record.mission_id,)).fetchone()
    if known is not None and known[0] < record.seq:
        return True
    batch = Batch({})
    batch.add(record)
    return bool(batch.places)
