from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import JournalBroken, JournalLocked, NotAppended, SetupError
from services.whiteboard.checking import Checked, check
from services.whiteboard.disk import Disk
from services.whiteboard.journal import Journal
from services.whiteboard.record import FORK, GAP, GENESIS, Note, chain_hash
from tests.support.recording import UnsyncedDisk, stream, whole


def notes(first: int, last: int, day: int = 1) -> list[Note]:
    messages = [message for number in range(first // 3, last // 3 + 2) for message in whole(number)]
    return stream(messages[: last - first + 1], first, day)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal.open(folder)
    yield journal
    journal.close()


def reopened(folder: Path, disk: Disk | None = None) -> tuple[Journal, list[int]]:
    journal = Journal.open(folder, disk)
    seqs = [record.seq for record in journal.replay()]
    journal.close()
    return journal, seqs


class FailingDisk(Disk):
    """Fails the next calls of one name; a short write takes half before it does."""

    def __init__(self) -> None:
        self.failing = ""

    def write(self, descriptor: int, data: memoryview | bytes) -> int:
        if self.failing == "write" and len(data) > 1:
            return super().write(descriptor, bytes(data[: len(data) // 2]))
        self._maybe_fail("write")
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._maybe_fail("fdatasync")
        super().fdatasync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self._maybe_fail("rename")
        super().rename(old, new)

    def fsync_dir(self, folder: Path) -> None:
        self._maybe_fail("fsync_dir")
        super().fsync_dir(folder)

    def ftruncate(self, descriptor: int, size_bytes: int) -> None:
        self._maybe_fail("ftruncate")
        super().ftruncate(descriptor, size_bytes)

    def _maybe_fail(self, name: str) -> None:
        if self.failing == name:
            raise OSError(errno.ENOSPC, "no space left")


def test_what_was_appended_is_replayed_in_order_with_its_bytes(journal: Journal) -> None:
    batch = notes(1, 30)
    journal.append(batch[:10])
    journal.append(batch[10:])
    replayed = list(journal.replay())
    assert [(record.seq, record.time, record.subject, record.data) for record in replayed] == [
        (note.seq, note.time, note.subject, note.data) for note in batch
    ]
    assert [record.seq for record in journal.replay(27)] == [28, 29, 30]


def test_each_line_holds_the_hash_of_the_line_before(journal: Journal) -> None:
    journal.append(notes(1, 5))
    lines = (journal.folder / "missions.jsonl").read_bytes().splitlines()
    prevs = [record.prev for record in journal.replay()]
    assert prevs == [GENESIS, *(chain_hash(line) for line in lines[:-1])]


def test_only_what_follows_on_the_last_record_is_taken(journal: Journal) -> None:
    journal.append(notes(1, 3))
    for wrong in (notes(3, 4), notes(5, 6)):
        with pytest.raises(ValueError, match="do not follow on 3"):
            journal.append(wrong)


def test_a_start_goes_on_where_the_last_one_ended(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 4))
    journal.close()
    again = Journal.open(folder)
    assert again.last_seq == 4
    assert again.position.last_message is not None
    again.append(notes(5, 6))
    assert [record.seq for record in again.replay()] == [1, 2, 3, 4, 5, 6]
    assert again.position.damaged == 0
    again.close()


def test_a_second_writer_is_refused(folder: Path, journal: Journal) -> None:
    with pytest.raises(JournalLocked, match="another process writes"):
        Journal.open(folder)


def test_a_second_writer_is_refused_although_the_lock_file_is_gone(folder: Path, journal: Journal) -> None:
    (folder / ".lock").unlink()
    with pytest.raises(JournalLocked, match="another process writes"):
        Journal.open(folder)
    journal.close()
    Journal.open(folder).close()


def test_nobody_else_can_read_the_files(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 1))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "missions.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot keep a journal in"):
        Journal.open(tmp_path / "file" / "journal")


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "missions.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError):
        Journal.open(folder)


@pytest.mark.timeout(120)  # a journal for each byte
def test_a_torn_tail_is_cut_off_at_every_byte(tmp_path: Path, folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 6))
    journal.close()
    whole_file = (folder / "missions.jsonl").read_bytes()
    ends = [position + 1 for position, byte in enumerate(whole_file) if byte == ord("\n")]
    torn = tmp_path / "torn"
    for size in range(ends[2], len(whole_file) + 1):
        torn.mkdir()
        (torn / "missions.jsonl").write_bytes(whole_file[:size])
        after, seqs = reopened(torn, UnsyncedDisk())
        good = sum(end <= size for end in ends)
        assert seqs == list(range(1, good + 1))
        assert after.position.damaged == 0
        cut = whole_file[ends[good - 1] : size]
        kept = list((torn / "quarantine").iterdir()) if cut else []
        assert b"".join(path.read_bytes() for path in kept) == cut
        shutil.rmtree(torn)


def test_nuls_behind_the_last_line_are_cut_off(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3))
    journal.close()
    with (folder / "missions.jsonl").open("ab") as file:
        file.write(bytes(5_000))
    assert reopened(folder)[1] == [1, 2, 3]


def test_damage_before_a_good_line_is_counted_and_never_cut(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 6))
    journal.close()
    path = folder / "missions.jsonl"
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b'{"seq":3') + 40] ^= 1
    path.write_bytes(damaged)
    after, seqs = reopened(folder)
    assert seqs == [1, 2, 4, 5, 6]
    assert after.position.damaged == 1
    assert after.last_seq == 6
    assert path.read_bytes() == damaged


def test_a_line_taken_out_breaks_the_chain(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 6))
    journal.close()
    path = folder / "missions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert reopened(folder)[0].position.damaged == 1


def test_a_full_segment_is_renamed_to_what_it_holds_and_the_chain_goes_on(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1_000)
    for first in range(1, 31, 3):
        journal.append(notes(first, first + 2))
    names = sorted(path.name for path in folder.glob("missions.*-*.jsonl"))
    assert len(names) > 2
    assert "missions.1-3.jsonl" in names
    assert [record.seq for record in journal.replay(4)] == list(range(5, 31))
    records = list(journal.replay())
    assert [record.prev for record in records[1:]] == [chain_hash(record.line) for record in records[:-1]]
    assert [journal.read(record.seq, record.offset) for record in records] == records
    journal.close()
    after, seqs = reopened(folder)
    assert seqs == list(range(1, 31))
    assert after.position.damaged == 0


def test_a_segment_holds_one_day(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3, day=1))
    journal.append(notes(4, 6, day=2))
    assert (folder / "missions.1-3.jsonl").exists()
    assert [record.seq for record in journal.replay()] == [1, 2, 3, 4, 5, 6]


def test_a_start_after_a_crash_between_rename_and_the_new_file_goes_on(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3))
    journal.close()
    (folder / "missions.jsonl").rename(folder / "missions.1-3.jsonl")
    again = Journal.open(folder)
    assert again.last_seq == 3
    again.append(notes(4, 5))
    assert [record.seq for record in again.replay()] == [1, 2, 3, 4, 5]
    again.close()
    assert reopened(folder)[0].position.damaged == 0


def test_a_write_without_room_leaves_nothing_and_the_next_one_succeeds(folder: Path) -> None:
    disk = FailingDisk()
    journal = Journal.open(folder, disk)
    journal.append(notes(1, 3))
    before = (folder / "missions.jsonl").read_bytes()
    disk.failing = "write"
    with pytest.raises(NotAppended, match="no space"):
        journal.append(notes(4, 6))
    assert (folder / "missions.jsonl").read_bytes() == before
    assert journal.last_seq == 3
    disk.failing = ""
    journal.append(notes(4, 6))
    journal.close()
    assert reopened(folder)[1] == [1, 2, 3, 4, 5, 6]


def test_a_failed_sync_is_never_tried_again(folder: Path) -> None:
    disk = FailingDisk()
    journal = Journal.open(folder, disk)
    disk.failing = "fdatasync"
    with pytest.raises(JournalBroken):
        journal.append(notes(1, 3))
    assert journal.last_seq == 0
    assert list(journal.replay()) == []
    journal.close()


@pytest.mark.parametrize("call", ["rename", "fsync_dir"])
def test_a_rotation_that_fails_is_made_good_by_the_next_append(folder: Path, call: str) -> None:
    disk = FailingDisk()
    journal = Journal.open(folder, disk, segment_bytes=1)
    journal.append(notes(1, 3))
    disk.failing = call
    for _ in range(2):
        with pytest.raises(NotAppended):
            journal.append(notes(4, 6))
    disk.failing = ""
    journal.append(notes(4, 6))
    assert [record.seq for record in journal.replay()] == [1, 2, 3, 4, 5, 6]
    journal.close()
    assert reopened(folder)[0].position.damaged == 0


def test_readers_see_only_what_is_durable(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3))
    with (folder / "missions.jsonl").open("ab") as file:
        file.write(b'{"seq":4,"not yet":')
    assert [record.seq for record in journal.replay()] == [1, 2, 3]


def test_a_note_speaks_for_the_sequences_up_to_its_own(journal: Journal) -> None:
    journal.append(notes(1, 3))
    note = journal.note(GAP, 9, {"first": 4, "last": 9})
    assert note.is_note
    assert journal.last_seq == 9
    assert journal.position.last_message is not None
    assert journal.position.last_message.seq == 3
    journal.append(notes(10, 11))
    assert [record.seq for record in journal.replay(3)] == [9, 10, 11]
    assert journal.position.damaged == 0


def test_a_replay_finds_its_place_in_a_large_segment(journal: Journal) -> None:
    journal.append(notes(1, 6_000))
    for after in (0, 1, 2_999, 5_000, 5_999, 6_000):
        assert [record.seq for record in journal.replay(after)] == list(range(after + 1, 6_001))


def test_a_note_stays_in_the_file_of_the_sequence_it_carries(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 1, day=1))
    journal.append(notes(2, 2, day=2))
    journal.note(FORK, 2, {"reason": "another stream"})
    journal.append(notes(3, 3, day=3))
    assert [record.seq for record in journal.replay()] == [1, 2, 2, 3]


def test_a_full_segment_is_never_overwritten(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    journal.append(notes(1, 3))
    (folder / "missions.1-3.jsonl").write_text("kept")
    journal.append(notes(4, 6))
    assert (folder / "missions.1-3.jsonl").read_text() == "kept"
    assert (folder / "missions.1-3.1.jsonl").exists()
    journal.close()


def test_damage_in_a_full_segment_is_counted_once_when_it_is_read(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    journal.append(notes(1, 3))
    journal.append(notes(4, 6))
    path = folder / "missions.1-3.jsonl"
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b'{"seq":2') + 40] ^= 1
    path.write_bytes(damaged)
    for _ in range(2):
        assert [record.seq for record in journal.replay()] == [1, 3, 4, 5, 6]
    assert journal.damaged == 1
    journal.close()


def test_a_full_segment_that_is_missing_is_counted_at_the_start(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    for first in (1, 4, 7, 10):
        journal.append(notes(first, first + 2))
    journal.close()
    (folder / "missions.4-6.jsonl").unlink()
    again, seqs = reopened(folder)
    assert again.damaged == 1
    assert seqs == [1, 2, 3, 7, 8, 9, 10, 11, 12]


def test_a_note_alone_in_its_file_is_replayed(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3))
    journal.seal()
    journal.note(FORK, 3, {"reason": "another stream"})
    for _ in range(2):
        assert [record.seq for record in journal.replay()] == [1, 2, 3, 3]
        assert [record.seq for record in journal.replay(3)] == []
        journal.seal()
    journal.append(notes(4, 5))
    assert [record.seq for record in journal.replay()] == [1, 2, 3, 3, 4, 5]
    journal.close()
    again, seqs = reopened(folder)
    assert (again.damaged, seqs) == (0, [1, 2, 3, 3, 4, 5])


def test_a_bad_end_of_the_last_full_segment_is_cut_off_while_nothing_follows_it(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 6))
    journal.seal()
    journal.close()
    path = folder / "missions.1-6.jsonl"
    path.write_bytes(path.read_bytes()[:-5] + b"xxxx\n")
    again = Journal.open(folder)
    assert (again.last_seq, again.damaged) == (5, 0)
    again.append(notes(6, 7))
    again.close()
    assert reopened(folder)[1] == list(range(1, 8))
    assert not list(check(folder, Checked()))


def test_a_copy_made_while_the_open_file_was_renamed_is_opened_without_damage(folder: Path, journal: Journal) -> None:
    journal.append(notes(1, 3))
    journal.seal()
    journal.append(notes(4, 5))
    half = (folder / "missions.jsonl").read_bytes()
    journal.append(notes(6, 6))
    journal.seal()
    journal.close()
    (folder / "missions.jsonl").write_bytes(half)
    again = Journal.open(folder)
    assert (again.last_seq, again.damaged) == (6, 0)
    again.append(notes(7, 8))
    again.close()
    assert reopened(folder)[1] == list(range(1, 9))
    assert not list(check(folder, Checked()))


def test_a_segment_whose_sequences_another_one_has_is_left_alone(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    for first in (1, 4, 7):
        journal.append(notes(first, first + 2))
    journal.close()
    shutil.copy(folder / "missions.1-3.jsonl", folder / "missions.1-3.1.jsonl")
    again, seqs = reopened(folder)
    assert (again.damaged, seqs) == (0, list(range(1, 10)))
    assert (folder / "missions.1-3.1.jsonl").exists()


def test_a_segment_that_is_taken_away_under_a_running_journal_is_damage_and_costs_no_other(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    for first in (1, 4, 7):
        journal.append(notes(first, first + 2))
    (folder / "missions.4-6.jsonl").unlink()
    assert journal.read(5, 0) is None
    assert [record.seq for record in journal.replay()] == [1, 2, 3, 7, 8, 9]
    assert journal.damaged == 1
    journal.close()


def test_damage_in_the_open_file_is_noticed_when_it_is_read(folder: Path, journal: Journal) -> None:
    records = journal.append(notes(1, 3))
    path = folder / "missions.jsonl"
    path.write_bytes(path.read_bytes().replace(b"active", b"passed"))
    assert journal.read(2, records[1].offset) is None
    assert [record.seq for record in journal.replay()] == [1, 3]
    assert journal.position.bad == (records[1].offset,)
    journal.append(notes(4, 5))
    assert journal.damaged == 1


def test_a_line_that_lies_about_its_sequence_misleads_nobody(journal: Journal) -> None:
    journal.append(notes(1, 6_000))
    path = journal.folder / "missions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for seq in range(2_000, 6_000):
        if seq % 7:
            lines[seq - 1] = lines[seq - 1].replace(b'{"seq":%d,' % seq, b'{"seq":1%03d,' % (seq % 1_000))
    path.write_bytes(b"".join(lines))
    assert [record.seq for record in journal.replay(1_998)][:2] == [1_999, 2_002]


@pytest.mark.parametrize("content", [b"", b"rubbish", b'{"seq":9,"time":"'])
def test_a_carried_file_that_does_not_say_so_itself_takes_no_segment_away(folder: Path, content: bytes) -> None:
    journal = Journal.open(folder, segment_bytes=1)
    for first in (1, 4, 7):
        journal.append(notes(first, first + 2))
    journal.close()
    (folder / "carried.5.jsonl").write_bytes(content)
    again, seqs = reopened(folder)
    assert (again.damaged, seqs) == (0, list(range(1, 10)))


def test_an_open_file_that_is_taken_away_ends_the_journal_and_a_start_goes_on_behind_the_last_full_one(
    folder: Path, journal: Journal
) -> None:
    journal.append(notes(1, 3))
    journal.seal()
    journal.append(notes(4, 6))
    (folder / "missions.jsonl").unlink()
    assert [record.seq for record in journal.replay()] == [1, 2, 3]
    assert journal.position.bad  # so it is sealed
    with pytest.raises(JournalBroken, match="was taken out of"):
        journal.seal()
    journal.close()
    assert reopened(folder)[1] == [1, 2, 3]
