"""What retention takes out of the index: what it knew of records that are gone, and missions that went with them.

Afterwards the index is what a rebuild from the journal that is left would make. It is done in steps, each a transaction
of its own, so that records which come meanwhile wait for none of them long.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import msgspec

from services.whiteboard import tables, words
from services.whiteboard.batch import Batch
from services.whiteboard.files import Head
from services.whiteboard.record import Record
from services.whiteboard.view import View

#: So many missions are forgotten in one step.
STEP = 500
_CARRIED_AT_ONCE = 1_000

_decode_view = msgspec.json.Decoder(View).decode


def carry_over(connection: sqlite3.Connection, cut: Head, carried: Iterable[Record]) -> None:
    """Begin behind a cut: with how missions stood there in place of their records. The caller commits."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM carried")
    connection.execute("DELETE FROM moments WHERE seq <= ?", (cut.last_seq,))
    connection.execute("DELETE FROM records WHERE first_seq <= ? AND seq <= ?", (cut.last_seq, cut.last_seq))
    notes, clock = iter(carried), ""
    while part := list(islice(notes, _CARRIED_AT_ONCE)):
        batch = Batch({}, clock)
        for record in part:
            batch.add(record)
        clock = batch.clock
        connection.executemany(tables.INSERT_CARRIED, batch.carried)
        connection.executemany(tables.INSERT_MOMENT, batch.moments)
    connection.execute(tables.REPLACE_CUT, (cut.last_seq, cut.clock))


def is_carried_over(connection: sqlite3.Connection, cut: Head) -> bool:
    """Tell whether the index begins behind this cut."""
    return connection.execute("SELECT 1 FROM cut WHERE seq = ?", (cut.last_seq,)).fetchone() is not None


def forget(connection: sqlite3.Connection, cut: int, after: int) -> list[View]:
    """Forget the next missions that were not carried over, proposed after a sequence, and return them."""
    connection.execute("BEGIN IMMEDIATE")
    gone = [_decode_view(text) for (text,) in connection.execute(_NOT_CARRIED, (after, cut, STEP)).fetchall()]
    rows = [(view.first_seq,) for view in gone]
    for table in ("missions", "views", "records"):
        connection.executemany(f"DELETE FROM {table} WHERE first_seq = ?", rows)  # noqa: S608 - ours
    connection.executemany(tables.CHANGE_TERMS, [("delete", view.first_seq, words.document(view)) for view in gone])
    fewer = Counter((kind, view.status.value) for view in gone for kind in words.kinds(view))
    connection.executemany(tables.ADD_TALLY, [(*name, -number) for name, number in fewer.items()])
    connection.execute("DELETE FROM tallies WHERE missions = 0")
    connection.execute("COMMIT")
    return gone


def living(connection: sqlite3.Connection, cut: int) -> set[int]:
    """Return the missions, by their first sequence, that were proposed up to `cut` and have records after it."""
    statement = "SELECT DISTINCT first_seq FROM records WHERE first_seq <= ? AND seq > ?"
    return {seq for (seq,) in connection.execute(statement, (cut, cut))}


_NOT_CARRIED = (
    "SELECT view FROM views WHERE first_seq > ? AND first_seq <= ?"
    " AND first_seq NOT IN (SELECT first_seq FROM carried) ORDER BY first_seq LIMIT ?"
)
