from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import JournalError, NotAppended
from contracts.lifecycle import Status
from services.whiteboard import query
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import GAP, Note, Record
from services.whiteboard.view import fold
from tests.support.recording import UnsyncedDisk, change, proposal, stream, whole


class Board:
    """A journal and its index, fed side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal.open(folder / "journal", UnsyncedDisk())
        self.index = Index.open(folder / "index.sqlite", self.journal)

    def take(self, notes: list[Note]) -> None:
        self.index.apply(self.journal.append(notes))

    def catch_up(self) -> int:
        before = self.index.last_seq
        for records in self.index.missing(self.journal):
            self.index.apply(records)
        return self.index.last_seq - before

    def views(self) -> dict[str, bytes]:
        connection = sqlite3.connect(self.index.path)
        rows = connection.execute("SELECT mission_id, view FROM missions JOIN views USING (first_seq)").fetchall()
        connection.close()
        return {mission_id: view.encode() for mission_id, view in rows}

    def reopen(self) -> None:
        self.close()
        self.__init__(self.folder)  # type: ignore[misc]  # the same, started again

    def close(self) -> None:
        self.index.close()
        self.journal.close()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path)
    yield board
    board.close()


def folded(records: list[Record]) -> dict[str, bytes]:
    histories: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        histories[record.mission_id].append(record)
    views = {mission_id: fold(history) for mission_id, history in histories.items()}
    return {mission_id: msgspec.json.encode(view) for mission_id, view in views.items() if view}


MESSAGES = st.one_of(
    st.integers(1, 3).map(proposal),
    st.builds(
        change, st.integers(1, 3), st.sampled_from([status for status in Status if status is not Status.PROPOSED])
    ),
    st.just(("missions.status.default.x", b"rubbish")),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=25), st.integers(1, 7))
def test_the_index_is_the_fold_of_the_journal_however_it_was_fed(messages: list[tuple[str, bytes]], size: int) -> None:
    with TemporaryDirectory() as folder:
        board = Board(Path(folder))
        notes = stream(messages)
        for start in range(0, len(notes), size):
            board.take(notes[start : start + size])
        expected = folded(list(board.journal.replay()))
        assert board.views() == expected
        incremental = (board.index.head, +board.index.statuses)
        board.index.close()
        board.index.path.unlink()
        board.index = Index.open(board.index.path, board.journal)
        board.catch_up()
        assert board.views() == expected
        assert (board.index.head, +board.index.statuses) == incremental
        assert Counter(msgspec.json.decode(view)["status"] for view in expected.values()) == +board.index.statuses
        board.close()


def test_a_restart_goes_on_with_what_the_index_lacks(board: Board) -> None:
    board.take(stream(whole(1)))
    board.journal.append(stream(whole(2), first=4))
    board.reopen()
    assert board.index.last_seq == 3
    assert board.catch_up() == 3
    assert board.index.statuses["completed"] == 2


def test_an_index_that_is_ahead_of_its_journal_is_begun_anew(board: Board) -> None:
    board.take(stream(whole(1) + whole(2)))
    (board.folder / "journal" / "missions.jsonl").write_bytes(b"")
    board.reopen()
    assert board.index.last_seq == 0
    assert board.views() == {}


def test_the_index_of_another_journal_is_begun_anew(board: Board, tmp_path: Path) -> None:
    board.take(stream(whole(1)))
    (board.folder / "journal" / "missions.jsonl").unlink()
    board.close()
    other = Journal.open(board.folder / "journal")
    other.append(stream(whole(2)))
    other.close()
    board.__init__(board.folder)  # type: ignore[misc]  # the same, started again
    assert board.index.last_seq == 0


@pytest.mark.parametrize("harm", ["garbage", "version"])
def test_an_index_that_cannot_be_used_is_begun_anew(board: Board, harm: str) -> None:
    board.take(stream(whole(1)))
    board.index.close()
    if harm == "garbage":
        board.index.path.write_bytes(b"not a database" * 500)
    else:
        connection = sqlite3.connect(board.index.path)
        connection.execute("PRAGMA user_version = 999")
        connection.close()
    board.index = Index.open(board.index.path, board.journal)
    assert board.catch_up() == 3
    assert board.index.statuses["completed"] == 1


def test_what_breaks_the_rules_is_counted_and_kept_with_its_mission(board: Board) -> None:
    subject, _ = change(1, Status.ACTIVE)
    applied = board.index.apply(board.journal.append(stream([*whole(1), change(1, Status.FAILED), (subject, b"?")])))
    assert (board.index.head.illegal, board.index.head.unreadable) == (1, 1)
    assert [record.seq for record, _ in applied.unreadable] == [5]
    assert applied.changed.keys() == {stream(whole(1))[0].subject.rpartition(".")[2]}
    connection = query.connect(board.index.path)
    places = query.places(connection, 1, 0, 100)
    connection.close()
    assert [board.journal.read(*place).seq for place in places] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_a_note_of_the_whiteboard_is_counted(board: Board) -> None:
    board.index.apply([board.journal.note(GAP, 5, {"first": 1, "last": 5})])
    assert (board.index.last_seq, board.index.head.gaps) == (5, 1)
    board.take(stream(whole(1), first=6))
    board.reopen()
    assert board.index.last_seq == 8


def test_a_damaged_view_is_told_once_and_the_next_start_begins_anew(board: Board) -> None:
    board.take(stream(whole(1)))
    board.reopen()
    connection = sqlite3.connect(board.index.path)
    connection.execute("UPDATE views SET view = '{'")
    connection.commit()
    connection.close()
    records = board.journal.append(stream([change(1, Status.FAILED)], first=4))
    with pytest.raises(JournalError, match="A restart rebuilds it"):
        board.index.apply(records)
    board.reopen()
    assert board.catch_up() == 4
    assert board.index.statuses["completed"] == 1
    board.reopen()
    assert board.index.last_seq == 4


def test_a_folder_in_place_of_the_index_is_one_clear_line(board: Board, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError, match="cannot keep an index at"):
        Index.open(tmp_path / "folder", board.journal)


def test_an_index_without_room_takes_the_records_later(board: Board) -> None:
    board.take(stream(whole(1)))
    pages = board.index._connection.execute("PRAGMA page_count").fetchone()[0]
    board.index._connection.execute(f"PRAGMA max_page_count = {pages}")
    records = board.journal.append(stream([m for number in range(2, 200) for m in whole(number)], first=4))
    with pytest.raises(NotAppended, match="full"):
        board.index.apply(records)
    assert board.index.last_seq == 3
    board.index._connection.execute("PRAGMA max_page_count = 1000000")
    assert board.catch_up() == len(records)
