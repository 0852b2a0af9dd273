"""Damage: every flipped bit and every missing file is found, everything else served, and all of it repaired."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import pytest

from services.whiteboard import lock, segments
from services.whiteboard.checking import Checked, _part, check, readings
from services.whiteboard.compression import compress
from services.whiteboard.journal import Journal
from services.whiteboard.record import FORK, GAP, GENESIS, Arrival, Note, chain_hash, decode_line, encode_line
from services.whiteboard.repair import is_whole, mend
from services.whiteboard.retention import drop, fold_through
from tests.support.recording import UnsyncedDisk, stream, whole

NOTES = stream([message for number in range(1, 35) for message in whole(number)])[:100]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    """Open a journal of ten full segments, and look after it."""
    journal = Journal.open(folder, UnsyncedDisk())
    for start in range(0, 100, 10):
        journal.append(NOTES[start : start + 10])
        if start < 90:
            journal.seal()
    yield journal
    journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("missions*")}


async def mended(journal: Journal, notes: Sequence[Note] = NOTES) -> list[bool]:
    """Repair what is known to be damaged."""

    async def fetch(seq: int) -> Arrival | None:
        return next((note for note in notes if note.seq == seq), None)

    return [
        (await mend(journal.files, part, fetch, asyncio.to_thread)).whole
        for part in journal.files.suspects
        if part in journal.files.suspects  # not repaired together with the one before
    ]


def seqs(journal: Journal) -> list[int]:
    return [record.seq for record in journal.replay()]


class Part:
    """A few lines of a file, in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size_bytes = len(content)

    def pread(self, size: int, offset: int) -> bytes:
        return self.content[offset : offset + size]

    def close(self) -> None:
        pass


@pytest.mark.timeout(120)
def test_every_flipped_bit_of_a_hundred_lines_is_found_and_every_other_line_served() -> None:
    lines = [b""]
    prev = GENESIS
    for seq in range(1, 103):
        lines.append(encode_line(Note(seq, "2026-01-01T00:00:00Z", "missions.status.q.m", b'{"n":"\xc3\xa9"}'), prev))
        prev = chain_hash(lines[-1])
    for seq in range(1, 101):
        before = chain_hash(lines[seq - 1]) if seq > 1 else GENESIS
        good = b"".join(line + b"\n" for line in lines[seq : seq + 3])  # a line, and those behind it
        for place in range(len(lines[seq]) + 1):
            for bit in range(8):
                damaged = bytearray(good)
                damaged[place] ^= 1 << bit
                found = segments.verify(Part(bytes(damaged)), before)
                served = [record.seq for record in segments.records(Part(bytes(damaged)), 0, lambda _: None)]
                joined = place == len(lines[seq])  # the newline: it takes the next line along
                assert found.damaged, f"bit {bit} of byte {place} of line {seq}"
                assert served == ([seq + 2] if joined else [seq + 1, seq + 2]), (seq, place, bit)


@pytest.mark.parametrize("packed", [False, True])
async def test_damage_in_any_full_segment_is_repaired_to_the_same_bytes(journal: Journal, *, packed: bool) -> None:
    before = contents(journal.folder)
    for number, part in list(enumerate(journal.files.sealed))[::2]:
        if packed:
            compress(journal.files, part)
        path = journal.files.sealed[number].path
        content = bytearray(path.read_bytes())
        content[len(content) * (number + 1) // 11] ^= 1 << number % 8
        path.write_bytes(content)
        assert not is_whole(journal.files, journal.files.sealed[number])
    assert await mended(journal) == [True] * 5
    assert journal.damaged == 0
    assert contents(journal.folder) == before
    assert len(list((journal.folder / "quarantine").glob("damaged-*"))) == 5


@pytest.mark.parametrize("gone", [["1-10"], ["41-50"], ["81-90"], ["11-20", "21-30"]])
async def test_full_segments_that_are_missing_are_written_again(journal: Journal, gone: list[str]) -> None:
    journal.close()
    for name in gone:
        (journal.folder / f"missions.{name}.jsonl").unlink()
    again = Journal.open(journal.folder, UnsyncedDisk())
    if again.position.bad:  # the first line of the open file does not follow
        again.seal()
    assert again.damaged
    await mended(again)
    assert again.damaged == 0
    assert seqs(again) == list(range(1, 101))
    again.close()
    assert not list(check(journal.folder, Checked()))


async def test_lines_taken_out_and_a_tail_cut_off_are_repaired(journal: Journal) -> None:
    before = contents(journal.folder)
    path = journal.folder / "missions.31-40.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[5:8]))
    journal.close()
    again = Journal.open(journal.folder, UnsyncedDisk())
    assert again.damaged
    await mended(again)
    assert (again.damaged, contents(journal.folder)) == (0, before)
    again.close()


def forged(content: bytes, seq: int, old: bytes, new: bytes) -> bytes:
    """Change a line, and make its checksum right again."""
    lines = content.splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if line.startswith(b'{"seq":%d,' % seq))
    line = lines[number].replace(old, new, 1)
    start = line.index(b',"crc":"')
    crc = crc32(line[start + 17 : -1], crc32(line[:start]))
    lines[number] = b'%b,"crc":"%08x"%b' % (line[:start], crc, line[start + 17 :])
    assert decode_line(lines[number][:-1]).seq == seq
    return b"".join(lines)


def swapped(content: bytes, one: int, other: int) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def doubled(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:5], *lines[4:]])


def prev_of(content: bytes, seq: int) -> bytes:
    records = [decode_line(line) for line in content.splitlines()]
    return next(record.prev.encode() for record in records if record.seq == seq)


HARM: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda folder: (folder / "missions.31-40.jsonl").write_bytes(b""),
    "zeroes": lambda folder: (folder / "missions.31-40.jsonl").write_bytes(bytes(5_000)),
    "two neighbours cut to nothing": lambda folder: [
        (folder / f"missions.{name}.jsonl").write_bytes(b"") for name in ("31-40", "41-50")
    ],
    "the first of two gone, the other cut": lambda folder: [
        (folder / "missions.31-40.jsonl").rename(folder / "gone"),
        (folder / "missions.41-50.jsonl").write_bytes(b""),
    ],
    "two exchanged": lambda folder: [
        (folder / "missions.31-40.jsonl").rename(folder / "aside"),
        (folder / "missions.51-60.jsonl").rename(folder / "missions.31-40.jsonl"),
        (folder / "aside").rename(folder / "missions.51-60.jsonl"),
    ],
    "one in place of another": lambda folder: shutil.copy(
        folder / "missions.51-60.jsonl", folder / "missions.31-40.jsonl"
    ),
    "damaged where two meet": lambda folder: [
        edit(folder / "missions.31-40.jsonl", lambda content: content[:-20] + b"x" * 19 + b"\n"),
        edit(folder / "missions.41-50.jsonl", lambda content: b"x" * 20 + content[20:]),
    ],
    "lines exchanged": lambda folder: edit(folder / "missions.31-40.jsonl", lambda content: swapped(content, 3, 4)),
    "the first line twice": lambda folder: edit(
        folder / "missions.31-40.jsonl", lambda content: content.splitlines(keepends=True)[0] + content
    ),
    "a line twice, in the middle": lambda folder: edit(folder / "missions.31-40.jsonl", doubled),
    "a body forged": lambda folder: edit(
        folder / "missions.31-40.jsonl", lambda content: forged(content, 35, b"default", b"another")
    ),
    "a chain forged": lambda folder: edit(
        folder / "missions.31-40.jsonl", lambda content: forged(content, 35, prev_of(content, 35), b"0" * 16)
    ),
    "rubbish between lines": lambda folder: edit(
        folder / "missions.31-40.jsonl", lambda content: content.replace(b'{"seq":35,', b'rub\r\n\0bish\n{"seq":35,')
    ),
}


def edit(path: Path, change: Callable[[bytes], bytes]) -> int:
    return path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("running", [False, True])
async def test_whatever_is_done_to_full_segments_is_found_and_repaired(
    journal: Journal, harm: str, *, running: bool
) -> None:
    before = contents(journal.folder)
    HARM[harm](journal.folder)
    if not running:
        journal.close()
        journal.__init__(journal.folder, UnsyncedDisk())  # type: ignore[misc]  # the same, started again
        journal._held = lock.hold(journal.folder)
        journal._recover()
    whole_ones = [is_whole(journal.files, part) for part in list(journal.files.sealed)]
    assert not all(whole_ones)
    assert all(await mended(journal))
    assert journal.damaged == 0
    assert all(is_whole(journal.files, part) for part in list(journal.files.sealed))
    assert contents(journal.folder) == before
    assert seqs(journal) == list(range(1, 101))
    assert not list(check(journal.folder, Checked()))


async def test_what_another_stream_has_at_our_sequences_repairs_nothing(journal: Journal) -> None:
    path = journal.folder / "missions.31-40.jsonl"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert not is_whole(journal.files, journal.files.sealed[3])
    other = [Note(note.seq, note.time, note.subject, note.data.replace(b"echo", b"ohce")) for note in NOTES]
    assert await mended(journal, other) == [False]
    assert await mended(journal, []) == [False]
    assert path.read_bytes() == content
    assert len(seqs(journal)) == 99


@pytest.fixture
def noted(folder: Path) -> Iterator[Journal]:
    """Open a journal with two records of the whiteboard's own in its full segment."""
    journal = Journal.open(folder, UnsyncedDisk())
    journal.append(NOTES[:3])
    journal.note(FORK, 3, {"reason": "another stream"})
    journal.note(GAP, 9, {"first": 4, "last": 9})
    journal.append(NOTES[9:12])
    journal.seal()
    journal.append(NOTES[12:14])
    yield journal
    journal.close()


@pytest.mark.parametrize("lost", [b"another", b'"first":4', b"complete", b"proposed"])
async def test_records_of_the_whiteboard_are_repaired_from_their_copies(noted: Journal, lost: bytes) -> None:
    before = contents(noted.folder)
    part = next(part for part in noted.files.sealed if lost in part.path.read_bytes())
    edit(part.path, lambda content: b"" if lost == b"proposed" else content.replace(lost, lost.upper(), 1))
    assert not is_whole(noted.files, part)
    assert await mended(noted) == [True]
    assert contents(noted.folder) == before


async def test_a_record_of_the_whiteboard_without_a_copy_stays_damaged_and_costs_nothing_else(noted: Journal) -> None:
    (noted.folder / "notes.jsonl").write_bytes(b"\n{rubbish")
    part = noted.files.sealed[0]
    good = part.path.read_bytes()
    edit(part.path, lambda content: content.replace(b"another", b"ANOTHER", 1).replace(b"active", b"ACTIVE", 1))
    assert not is_whole(noted.files, part)
    assert await mended(noted) == [False]
    assert part.path.read_bytes() == good.replace(b"another", b"ANOTHER", 1)
    assert noted.damaged > 0
    assert [record.seq for record in noted.replay() if not record.is_note] == [1, 2, 3, 10, 11, 12, 13, 14]


async def test_damage_in_the_open_file_is_repaired_once_it_is_sealed(journal: Journal) -> None:
    before = journal.folder.joinpath("missions.jsonl").read_bytes()
    content = bytearray(before)
    content[700] ^= 1
    journal.folder.joinpath("missions.jsonl").write_bytes(content)
    journal.close()
    again = Journal.open(journal.folder, UnsyncedDisk())
    assert again.damaged == 1
    again.seal()
    assert again.damaged == 1
    assert await mended(again) == [True]
    assert journal.folder.joinpath("missions.91-100.jsonl").read_bytes() == before
    again.close()


def test_a_check_says_which_line_of_which_file_is_wrong(journal: Journal) -> None:
    path = journal.folder / "missions.31-40.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b"default", b"another"), *lines[5:8], *lines[9:]]))
    with (journal.folder / "missions.jsonl").open("ab") as file:
        file.write(b'{"seq":101,"torn')
    seen = Checked()
    found = [(item.file, item.line, item.problem.split(":")[0], item.torn) for item in check(journal.folder, seen)]
    assert found == [
        ("missions.31-40.jsonl", 5, "unreadable", False),
        ("missions.31-40.jsonl", 9, "out of the chain", False),
        ("missions.jsonl", 11, "unreadable", True),
    ]
    assert (seen.files, seen.records, seen.first_seq, seen.last_seq) == (10, 98, 1, 100)


@pytest.mark.parametrize("meanwhile", ["renamed", "compressed", "dropped"])
def test_a_check_of_a_journal_that_is_written_meanwhile_finds_nothing_wrong(journal: Journal, meanwhile: str) -> None:
    def renamed() -> None:
        journal.append(stream(whole(90), journal.last_seq + 1))
        journal.seal()
        journal.append(stream(whole(91), journal.last_seq + 1))

    def compressed() -> None:
        compress(journal.files, journal.files.sealed[3])

    def dropped() -> None:
        for _ in range(3):
            fold = fold_through(journal, journal.files.sealed[0])
            assert fold is not None
            drop(journal, fold, set())

    seen = Checked()
    for number, (part, file) in enumerate(readings(journal.folder, seen)):
        assert not list(_part(part, file, seen)), part
        file.close()
        if number in {0, 8}:
            {"renamed": renamed, "compressed": compressed, "dropped": dropped}[meanwhile]()
    assert seen.last_seq == journal.last_seq
