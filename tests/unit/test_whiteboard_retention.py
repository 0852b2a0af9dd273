"""Retention: whatever is dropped, the views that are kept are those that were there, live and rebuilt alike."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.lifecycle import Status
from services.whiteboard import changes, query, retention
from services.whiteboard.checking import Checked, check
from services.whiteboard.choosing import Filter, Range
from services.whiteboard.compression import compress
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.moments import first_at
from services.whiteboard.past import Past, RecordsGone
from services.whiteboard.record import Note, Record
from services.whiteboard.retention import Keep
from services.whiteboard.view import View, fold
from tests.support.recording import UnsyncedDisk, change, mission_id, proposal, stream, whole

MESSAGES = st.one_of(
    st.integers(1, 5).map(proposal),
    st.builds(
        change, st.integers(1, 5), st.sampled_from([status for status in Status if status is not Status.PROPOSED])
    ),
    st.just(("missions.status.default.x", b"rubbish")),
)


def everything(index: Index) -> dict[str, object]:
    """Return all that an index holds, what the search finds included."""
    connection = sqlite3.connect(index.path)
    connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, search, instance)")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, object] = {
        name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()  # noqa: S608 - ours
        for name in names
        if not name.startswith("search")
    }
    found["tallies"] = connection.execute("SELECT * FROM tallies WHERE missions != 0 ORDER BY 1, 2").fetchall()
    found["terms"] = connection.execute("SELECT term, doc FROM temp.terms ORDER BY 1, 2").fetchall()
    connection.close()
    return found | {"statuses": +index.statuses}


def drop_oldest(journal: Journal, index: Index) -> None:
    """Do what the whiteboard's care does when the oldest segment has to go."""
    fold = retention.fold_through(journal, journal.files.sealed[0])
    assert fold is not None
    retention.drop(journal, fold, index.living(fold.head.last_seq))
    for _ in index.forget(journal):
        pass


def caught_up(journal: Journal, path: Path) -> Index:
    index = Index.open(path, journal)
    for records in index.missing(journal):
        index.apply(records)
    return index


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=40, deadline=None)
@given(st.lists(MESSAGES, min_size=6, max_size=30), st.integers(2, 6), st.data())
def test_a_rebuild_equals_the_views_that_were_kept(
    messages: list[tuple[str, bytes]], size: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal.open(folder / "journal", UnsyncedDisk())
        index = Index.open(folder / "live.sqlite", journal)
        notes = stream(messages)
        for start in range(0, len(notes), size):
            index.apply(journal.append(notes[start : start + size]))
            journal.seal()
            if len(journal.files.sealed) > 1 and data.draw(st.booleans()):
                drop_oldest(journal, index)
        rebuilt = caught_up(journal, folder / "rebuilt.sqlite")
        assert everything(rebuilt) == everything(index)
        rebuilt.close()
        journal.close()
        journal = Journal.open(folder / "journal", UnsyncedDisk())
        index.close()
        again = caught_up(journal, folder / "live.sqlite")
        assert everything(again) == everything(caught_up(journal, folder / "third.sqlite"))
        assert not list(check(folder / "journal", Checked()))
        again.close()
        journal.close()


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=40, deadline=None)
@given(st.lists(MESSAGES, min_size=6, max_size=30), st.integers(2, 6), st.data())
def test_the_past_is_told_as_it_was_or_not_at_all(
    messages: list[tuple[str, bytes]], size: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        journal = Journal.open(Path(name) / "journal", UnsyncedDisk())
        index = Index.open(Path(name) / "index.sqlite", journal)
        written: list[Record] = []
        notes = stream(messages)
        for start in range(0, len(notes), size):
            records = journal.append(notes[start : start + size])
            index.apply(records)
            written += records
            journal.seal()
            if len(journal.files.sealed) > 1 and data.draw(st.booleans()):
                drop_oldest(journal, index)
                written = remembered(written, index)
        with closing(journal), closing(index), closing(query.connect(index.path)) as connection:
            past = Past(connection, journal)
            for at in range(len(notes) + 1):
                compare_board(past, journal.cut.last_seq, views_at(written, at), at)
            begin, end = sorted(data.draw(st.tuples(st.integers(0, len(notes)), st.integers(0, len(notes)))))
            compare_changes(past, journal.cut.last_seq, written, begin, end)


def remembered(written: list[Record], index: Index) -> list[Record]:
    """Leave out the records of missions that are forgotten: the same id, proposed again, is a new mission."""
    with closing(query.connect(index.path)) as connection:
        known = {name for (name,) in connection.execute("SELECT mission_id FROM missions")}
    return [record for record in written if record.mission_id in known]


def compare_board(past: Past, cut: int, then: list[View], at: int) -> None:
    """Compare the board at a sequence with the fold of all that was ever written up to it, and is not forgotten."""
    known = {name for (name,) in past.connection.execute("SELECT mission_id FROM missions")}
    expected = {view.mission_id: view for view in then if view.mission_id in known}
    for name in known:
        try:
            assert past.view(name, at) == expected.get(name)
        except RecordsGone:
            assert at < cut
    if at < cut:
        with pytest.raises(RecordsGone, match="the journal begins behind"):
            past.page(Filter(limit=500), Range(), at)
    else:
        found = past.page(Filter(limit=500), Range(), at).items
        assert [bytes(item) for item in found] == [msgspec.json.encode(view) for view in expected.values()]


def compare_changes(past: Past, cut: int, written: list[Record], begin: int, end: int) -> None:
    """Compare a diff with the difference of two folds of all that was ever written."""
    if begin < cut:
        with pytest.raises(RecordsGone, match="the journal begins behind"):
            changes.between(past, begin, end, 0, 500)
        return
    before = {view.mission_id: view for view in views_at(written, begin)}
    told = [changes.difference(before.get(view.mission_id), view) for view in views_at(written, end)]
    found = changes.between(past, begin, end, 0, 500).items
    assert {change.mission_id: change for change in found} == {change.mission_id: change for change in told if change}


def test_a_time_before_the_journal_begins_finds_what_was_proposed_since_and_is_no_moment_of_the_board(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    index = Index.open(tmp_path / "index.sqlite", journal)
    times = ("10.110", "10.130", "10.170", "10.230", "10.240", "10.260", "10.290", "11.000")
    messages = [proposal(1), change(1, Status.CANCELLED), proposal(2), proposal(3), change(3, Status.CANCELLED)]
    messages += [proposal(4), proposal(5), proposal(6)]
    notes = [
        Note(seq, f"2026-01-01T00:00:{time}000000Z", *message)
        for seq, (time, message) in enumerate(zip(times, messages, strict=True), 1)
    ]
    for start in (0, 5):
        index.apply(journal.append(notes[start : start + 5]))
        journal.seal()
    drop_oldest(journal, index)
    with closing(journal), closing(index), closing(query.connect(index.path)) as connection:
        past = Past(connection, journal)
        for asked, first in (
            ("09", 3),
            ("10.12", 3),
            ("10.18", 6),
            ("10.24", 6),
            ("10.25", 6),
            ("10.27", 7),
            ("12", 9),
        ):
            low = first_at(connection, journal, f"2026-01-01T00:00:{asked}Z")
            assert min([seq for seq in (3, 6, 7, 8) if seq >= low], default=9) == first, asked
        with pytest.raises(RecordsGone, match="behind sequence 5"):
            past.check("2026-01-01T00:00:10.230000000Z")
        for asked, after in (("10.25", 6), ("10.27", 7), ("10.9", 8)):
            past.check(f"2026-01-01T00:00:{asked}Z")
            assert first_at(connection, journal, f"2026-01-01T00:00:{asked}Z", after=True) == after


def views_at(records: list[Record], at: int) -> list[View]:
    """Fold what was written up to a sequence, and return the missions newest first."""
    histories: defaultdict[str, list[Record]] = defaultdict(list)
    for record in takewhile(lambda record: record.seq <= at, records):
        histories[record.mission_id].append(record)
    found = [view for history in histories.values() if (view := fold(history))]
    return sorted(found, key=lambda view: -view.first_seq)


def test_an_open_mission_keeps_its_view_and_one_that_is_over_is_forgotten(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    index = Index.open(tmp_path / "index.sqlite", journal)
    index.apply(journal.append(stream([*whole(1), proposal(2, title="kept"), change(2, Status.ACTIVE)])))
    journal.seal()
    index.apply(journal.append(stream(whole(3), 6)))
    journal.seal()
    drop_oldest(journal, index)
    assert [record.seq for record in journal.replay(0)] == [6, 7, 8]
    assert journal.cut.last_seq == 5
    assert not (tmp_path / "journal" / "missions.1-5.jsonl").exists()
    index.apply(journal.append(stream([change(2, Status.COMPLETED)], 9)))
    views = dict(rows(index))
    assert views.keys() == {mission_id(2), mission_id(3)}
    assert '"title":"kept"' in views[mission_id(2)]
    assert '"status":"completed"' in views[mission_id(2)]
    index.close()
    journal.close()


def test_a_mission_proposed_again_after_it_was_forgotten_is_not_said_to_be_new(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    index = Index.open(tmp_path / "index.sqlite", journal)
    for messages in ([proposal(2), change(2, Status.FAILED)], [proposal(1)]):
        index.apply(journal.append(stream(messages, journal.last_seq + 1)))
        journal.seal()
    drop_oldest(journal, index)
    index.apply(journal.append(stream([proposal(2)], journal.last_seq + 1)))
    with closing(journal), closing(index), closing(query.connect(index.path)) as connection:
        past = Past(connection, journal)
        with pytest.raises(RecordsGone, match="behind sequence 2"):
            past.view(mission_id(2), 1)
        assert past.view(mission_id(2), 3) is None
        again = past.view(mission_id(2), 4)
        assert again is not None
        assert again.first_seq == 4


def rows(index: Index) -> list[tuple[str, str]]:
    connection = sqlite3.connect(index.path)
    found = connection.execute("SELECT mission_id, view FROM missions JOIN views USING (first_seq)").fetchall()
    connection.close()
    return found


def test_an_index_that_missed_a_retention_catches_up_with_it(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    index = Index.open(tmp_path / "index.sqlite", journal)
    for number in (1, 2, 3):
        index.apply(journal.append(stream(whole(number), number * 3 - 2)))
        journal.seal()
    fold = retention.fold_through(journal, journal.files.sealed[0])
    assert fold is not None
    retention.drop(journal, fold, index.living(fold.head.last_seq))  # and the process dies
    index.close()
    index = caught_up(journal, tmp_path / "index.sqlite")
    assert {name for name, _ in rows(index)} == {mission_id(2), mission_id(3)}
    assert index.statuses["completed"] == 2
    index.close()
    journal.close()


def test_what_has_to_go_is_decided_by_age_and_by_size_and_the_newest_stays(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    for number, day in ((1, 1), (2, 2), (3, 3)):
        journal.append(stream(whole(number), number * 3 - 2, day))
        journal.seal()
    first = journal.files.sealed[0]
    noon = 1_767_355_200.0  # 2026-01-02T12:00:00Z
    assert retention.due(journal, Keep(), noon) is None
    assert retention.due(journal, Keep(age_s=43_200), noon) == first
    assert retention.due(journal, Keep(age_s=172_800), noon) is None
    assert retention.due(journal, Keep(size_bytes=journal.size_bytes - 1), noon) == first
    assert retention.due(journal, Keep(size_bytes=journal.size_bytes), noon) is None
    compress(journal.files, first)
    assert retention.due(journal, Keep(age_s=43_200), noon) == journal.files.sealed[0]
    del journal.files.sealed[:2]
    assert retention.due(journal, Keep(age_s=1, size_bytes=1), 2e9) is None
    journal.close()


@pytest.mark.parametrize("place", [100, 900])
def test_a_damaged_segment_is_not_dropped(tmp_path: Path, place: int) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    journal.append(stream(whole(1)))
    journal.seal()
    path = journal.files.sealed[0].path
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert retention.fold_through(journal, journal.files.sealed[0]) is None
    journal.close()


@pytest.mark.parametrize("harm", ["a bit", "cut", "gone", "the copy gone"])
@pytest.mark.parametrize("running", [False, True])
def test_what_was_carried_over_is_repaired_from_its_copy(tmp_path: Path, harm: str, *, running: bool) -> None:
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    index = Index.open(tmp_path / "index.sqlite", journal)
    for messages in ([proposal(1), proposal(2)], [proposal(3)], [proposal(4)]):
        index.apply(journal.append(stream(messages, journal.last_seq + 1)))
        journal.seal()
    drop_oldest(journal, index)
    before = everything(index)
    path, copy = (tmp_path / "journal" / f"carried.2{end}" for end in (".jsonl", ".copy.jsonl"))
    good = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "the copy gone":
        copy.unlink()
    else:
        path.write_bytes(good.replace(b"proposed", b"PROPOSED", 1) if harm == "a bit" else good[:-20])
    index.close()
    if running:
        journal.files.mend_carried()
    else:
        journal.close()
        journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    assert path.read_bytes() == copy.read_bytes() == good
    assert (journal.cut.last_seq, journal.damaged) == (2, 0)
    rebuilt = caught_up(journal, tmp_path / "rebuilt.sqlite")
    assert everything(rebuilt) == before
    rebuilt.close()
    journal.close()
    assert not list(check(tmp_path / "journal", Checked()))
