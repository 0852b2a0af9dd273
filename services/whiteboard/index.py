"""The index: every mission's view and where its records are, in SQLite. Disposable: the journal is the truth."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
import structlog

from contracts.errors import JournalError, NotAppended
from services.whiteboard import forgetting, lacking, tables, tally
from services.whiteboard.batch import Batch, mission_row, span
from services.whiteboard.files import Head
from services.whiteboard.journal import Journal
from services.whiteboard.record import Record, chain_hash
from services.whiteboard.view import View

log = structlog.get_logger()

#: Views kept decoded, so that the records of missions under way cost no reading; none over `_LARGE_BYTES`.
RECENT_VIEWS = 8_192
_LARGE_BYTES = 8_192
#: What is brought along at once: the more, the fewer pages are written twice.
_MISSING_RECORDS = 5_000
_MISSING_BYTES = 8 * 1024 * 1024
_MOST_VARIABLES = 500
#: What may be gone a moment later, whatever the index holds: no room, no memory, a lock, a disk that fails.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)
#: What reading a damaged index raises.
_TROUBLE = (sqlite3.Error, msgspec.MsgspecError, TypeError, UnicodeDecodeError)

#: Stands beside an index that is damaged.
_BAD = ".bad"

_decode_view = msgspec.json.Decoder(View).decode


class Applied(msgspec.Struct, frozen=True):
    """What a batch did: the views that changed, and the records that nobody can understand."""

    changed: dict[str, View]
    unreadable: list[tuple[Record, str]]


class Index:
    """The writing side; it belongs to one thread at a time. Readers have connections of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = Head()
        self.statuses: Counter[str] = Counter()
        self._recent: dict[str, View] = {}
        self._forgotten = 0  #: the cut that it has brought home
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    @classmethod
    def open(cls, path: Path, journal: Journal) -> Self:
        """Open the index of a journal; one that is missing, broken, foreign or of another version is begun anew.

        Raises `JournalError` where there can be none.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if index := cls._kept(path, journal):
                return index
            log.warning("index_begun_anew", path=str(path), records=journal.last_seq)
            for suffix in ("", "-wal", "-shm", _BAD):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            index = cls(path)
            index._prepare()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(
                f"cannot keep an index at {path}: {error}. Make room, or move away what is there"
            ) from error
        return index

    @classmethod
    def _kept(cls, path: Path, journal: Journal) -> Self | None:
        """Open the index that is there, or return None where it cannot be used; a passing trouble is raised."""
        if path.with_name(path.name + _BAD).exists():
            return None
        index = cls(path)
        try:
            if index._prepare() and index._belongs_to(journal):
                for _ in index.forget(journal):
                    pass
                return index
        except _TROUBLE as error:
            if _is_passing(error):
                index.close()
                raise
            log.warning("index_unusable", path=str(path), error=str(error))
        index.close()
        return None

    @property
    def last_seq(self) -> int:
        """The last sequence that it reflects."""
        return self.head.last_seq

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def missing(self, journal: Journal) -> Iterator[list[Record]]:
        """Yield what the journal has and the index lacks, in batches to `apply`."""
        batch: list[Record] = []
        size = 0
        for record in journal.history(self.last_seq):
            batch.append(record)
            size += len(record.data)
            if len(batch) == _MISSING_RECORDS or size > _MISSING_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def forget(self, journal: Journal) -> Iterator[None]:
        """Bring a retention of the journal home, step by step: keep of what it dropped only what it carried over."""
        cut = journal.cut
        if self.last_seq < cut.last_seq or cut.last_seq == self._forgotten:  # it comes with what is missing, or is done
            return
        with self._told():
            if not self._carry_over(journal, cut):
                return
        after = 0
        while True:
            with self._told():
                gone = forgetting.forget(self._connection, cut.last_seq, after)
            for view in gone:
                self.statuses[view.status.value] -= 1
                self._recent.pop(view.mission_id, None)
            if len(gone) < forgetting.STEP:
                break
            after = gone[-1].first_seq
            yield
        self._forgotten = cut.last_seq

    def _carry_over(self, journal: Journal, cut: Head) -> bool:
        """Return whether the index begins behind the cut; where a carried view is damaged, it keeps what it has."""
        if forgetting.is_carried_over(self._connection, cut):
            return True
        if not journal.files.carried_damaged:
            forgetting.carry_over(self._connection, cut, journal.before())
            whole = not journal.files.carried_damaged
            self._connection.execute("COMMIT" if whole else "ROLLBACK")
            return whole
        return False

    def expect(self, journal: Journal, first: int, last: int) -> None:
        """See that it has the records of a part of the journal that was repaired; raises `JournalError` where not."""
        end = min(last, self.last_seq)
        records = itertools.takewhile(lambda record: record.seq <= end, journal.replay(first - 1))
        with self._told():
            seq = lacking.first_lacking(self._connection, records, first, end)
            if seq is not None:
                raise msgspec.ValidationError(f"it was made while record {seq}, repaired by now, could not be read")

    def living(self, cut: int) -> set[int]:
        """Return the missions, by their first sequence, that began up to `cut` and have records after it."""
        return forgetting.living(self._connection, cut)

    def apply(self, records: Sequence[Record]) -> Applied:
        """Fold records that follow on the last one into their views, in one transaction.

        The index is as before where it raises, and `missing` has the records: `NotAppended` where they may be taken
        later, `JournalError` where the index is damaged and the next `open` begins it anew.
        """
        with self._told():
            batch = Batch(self._load(records), self.head.clock)
        for record in records:
            batch.add(record)
        head = batch.head_after(self.head, records[-1])
        with self._told():
            self._write(batch, head)
        self.head = head
        self._remember(batch)
        return Applied(batch.changed, batch.unreadable)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what goes wrong into what to do about it."""
        try:
            yield
        except _TROUBLE as error:
            with suppress(sqlite3.Error):
                self._connection.rollback()
            if _is_passing(error):
                raise NotAppended(f"cannot write the index {self.path}: {error}") from error
            with suppress(OSError):
                self.path.with_name(self.path.name + _BAD).touch()
            raise JournalError(f"the index {self.path} is damaged: {error}. A restart rebuilds it") from error

    def _prepare(self) -> bool:
        """Make the tables where there are none; return whether they are of this version."""
        for pragma in tables.PRAGMAS:
            self._connection.execute(pragma)
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(f"BEGIN;{tables.TABLES};PRAGMA user_version = {tables.VERSION};COMMIT")
            return True
        if version != tables.VERSION:
            return False
        row = self._connection.execute(tables.SELECT_HEAD).fetchone()
        self.head = msgspec.convert(dict(zip(Head.__struct_fields__, row, strict=True)), Head) if row else Head()
        self.statuses = Counter(dict(self._connection.execute(tables.COUNT_STATUSES).fetchall()))
        return True

    def _belongs_to(self, journal: Journal) -> bool:
        """Tell whether the last line it reflects stands in this journal."""
        if self.last_seq == 0:
            return True
        if self.last_seq == journal.cut.last_seq:
            return self.head.last_hash == journal.cut.last_hash
        for record in journal.replay(self.last_seq - 1):
            if record.seq != self.last_seq:
                return False
            if chain_hash(record.line) == self.head.last_hash:
                return True
        return False

    def _load(self, records: Sequence[Record]) -> dict[str, View]:
        """Return the views, as far as there are any, of the missions that these records are about."""
        wanted = {record.mission_id for record in records if not record.is_note}
        views = {mission_id: self._recent[mission_id] for mission_id in wanted & self._recent.keys()}
        unknown = list(wanted - self._recent.keys())
        for start in range(0, len(unknown), _MOST_VARIABLES):
            part = unknown[start : start + _MOST_VARIABLES]
            statement = tables.SELECT_VIEWS.format(",".join("?" * len(part)))
            for (text,) in self._connection.execute(statement, part):
                view = _decode_view(text)
                views[view.mission_id] = view
        return views

    def _write(self, batch: Batch, head: Head) -> None:
        execute, many = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        new, old = batch.rows()
        many(tables.INSERT_MISSION, [mission_row(view) for view in new])
        many(tables.INSERT_VIEW, [(view.first_seq, batch.texts[view.mission_id]) for view in new])
        many(tables.UPDATE_MISSION, [(view.seq, view.status.value, span(view), view.first_seq) for view in old])
        many(tables.UPDATE_VIEW, [(batch.texts[view.mission_id], view.first_seq) for view in old])
        many(tables.CHANGE_TERMS, batch.terms())
        many(tables.INSERT_RECORD, batch.places)
        many(tables.INSERT_CARRIED, batch.carried)
        if batch.cut:
            execute(tables.REPLACE_CUT, (batch.cut.last_seq, batch.cut.clock))
        self._count(batch)
        execute(tables.REPLACE_HEAD, msgspec.structs.astuple(head))
        execute("COMMIT")

    def _count(self, batch: Batch) -> None:
        many = self._connection.executemany
        many(tables.INSERT_MOMENT, batch.moments)
        moved = tally.moved(batch.before, batch.changed)
        many(tables.ADD_TALLY, [(*name, number) for name, number in moved.items() if number])
        many(tables.ADD_MINUTE, [(*name, number) for name, number in batch.tally.minutes.items()])
        if batch.clock:
            self._connection.execute(tables.FORGET_MINUTES, (tally.oldest_kept(batch.clock),))

    def _remember(self, batch: Batch) -> None:
        recent = self._recent
        for mission_id, view in batch.changed.items():
            if mission_id in batch.before:
                self.statuses[batch.before[mission_id].status.value] -= 1
            self.statuses[view.status.value] += 1
            recent.pop(mission_id, None)
            if len(batch.texts[mission_id]) <= _LARGE_BYTES:
                recent[mission_id] = view
        for mission_id in list(itertools.islice(recent, max(0, len(recent) - RECENT_VIEWS))):
            del recent[mission_id]


def _is_passing(error: Exception) -> bool:
    """Tell whether waiting may help; the low byte of SQLite's code is its kind."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
