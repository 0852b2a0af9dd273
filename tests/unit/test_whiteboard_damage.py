"""Damage: every flipped bit and every missing file is found, everything else served, and all of it repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.whiteboard import segments
from services.whiteboard.checking import Checked, check
from services.whiteboard.compression import compress
from services.whiteboard.journal import Journal
from services.whiteboard.record import FORK, GAP, GENESIS, Arrival, Note, chain_hash, encode_line
from services.whiteboard.repair import is_whole, mend
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

    return [await mend(journal.files, part, fetch, asyncio.to_thread) for part in journal.files.suspects]


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


async def test_a_note_of_the_whiteboard_is_no_hole_and_cannot_be_had_again(folder: Path) -> None:
    journal = Journal.open(folder, UnsyncedDisk())
    journal.append(NOTES[:3])
    journal.note(FORK, 3, {"reason": "another stream"})
    journal.note(GAP, 9, {"first": 4, "last": 9})
    journal.append(NOTES[9:12])
    journal.seal()
    journal.append(NOTES[12:14])
    assert is_whole(journal.files, journal.files.sealed[0])
    path = journal.files.sealed[0].path
    good = path.read_bytes()
    for damaged, repairable in ((b"another", False), (b"complete", True)):
        path.write_bytes(good.replace(damaged, damaged.upper(), 1))
        assert not is_whole(journal.files, journal.files.sealed[0])
        assert await mended(journal) == [repairable]
    assert path.read_bytes() == good
    journal.close()


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
