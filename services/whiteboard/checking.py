"""Checking a journal without changing it: every line, the chain, the order of sequences. Also while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from contracts.errors import DecodeError
from services.whiteboard import segment_files, segments
from services.whiteboard.files import UNKNOWN, found_cut
from services.whiteboard.record import CUT, GENESIS, VIEW, Record, chain_hash, decode_line
from services.whiteboard.segment_files import OPEN_NAME, Missing, Plain, Reading, Segment


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where; `torn` is what the next start cuts off: nobody was promised it."""

    file: str
    line: int
    problem: str
    torn: bool = False


class Checked(msgspec.Struct):
    """What a check has seen so far."""

    files: int = 0
    records: int = 0
    first_seq: int = 0
    last_seq: int = 0
    carried: int = 0
    prev: str = GENESIS
    good_line: int = 0  #: the last good line of the file that is read
    suspect: bool = False  #: the line before is bad, so nobody can say what should follow


def check(folder: Path, seen: Checked) -> Iterator[Finding]:
    """Yield what is wrong in a journal, file by file, and count in `seen`."""
    _, carried = found_cut(folder)
    if carried is not None:
        with closing(Plain(carried)) as views:
            yield from _file(carried.name, views, seen)
        seen.records, seen.first_seq, seen.last_seq = 0, 0, 0
    for part, reading in readings(folder, seen):
        with closing(reading):
            yield from _part(part, reading, seen)
    for part in segments.told_apart(segment_files.sealed(folder))[1]:
        yield Finding(part.path.name, 0, "another file has its sequences: nobody reads it")


def readings(folder: Path, seen: Checked) -> Iterator[tuple[Segment, Reading]]:
    """Open one file after the other, the open one last, whatever is renamed, compressed or dropped meanwhile."""
    done = (0, 0)
    while True:
        cut, _ = found_cut(folder)
        if cut.last_seq > seen.last_seq:
            seen.last_seq, seen.prev, seen.suspect = cut.last_seq, cut.last_hash, cut.last_hash == UNKNOWN
        last = _open_file(folder)  # first: it may be renamed a moment later
        parts, _ = segments.told_apart(segment_files.sealed(folder))
        following = [part for part in parts if part.order > done and part.last > cut.last_seq]
        if not following:
            if last.size_bytes:
                yield Segment(folder / OPEN_NAME, 0, 0, last.size_bytes), last
            return
        last.close()
        for part in following:
            reading = part.open()
            if isinstance(reading, Missing):
                break
            yield part, reading
            done = part.order


def _open_file(folder: Path) -> Reading:
    try:
        return Plain(folder / OPEN_NAME)
    except FileNotFoundError:
        return Missing()


def _part(part: Segment, reading: Reading, seen: Checked) -> Iterator[Finding]:
    findings = list(_file(part.path.name, reading, seen))
    yield from _torn(findings, seen) if part.is_open else findings
    if not part.is_open and seen.last_seq != part.last:
        yield Finding(part.path.name, 0, f"it ends at {seen.last_seq}, and its name says {part.last}")
        seen.last_seq = part.last


def _torn(findings: list[Finding], seen: Checked) -> list[Finding]:
    """Tell a torn tail from damage: behind it there is nothing good."""
    return [msgspec.structs.replace(finding, torn=finding.line > seen.good_line) for finding in findings]


def _file(name: str, reading: Reading, seen: Checked) -> Iterator[Finding]:
    seen.files += 1
    seen.good_line = 0
    for number, (offset, line, whole) in enumerate(segments.lines(reading), 1):
        try:
            record = decode_line(line, offset)
        except DecodeError as error:
            yield Finding(name, number, f"unreadable: {error}")
            seen.suspect = True
            continue
        if not whole:
            yield Finding(name, number, "unreadable: it does not end")
            seen.suspect = True
            continue
        for problem in _problems(record, seen):
            yield Finding(name, number, problem)
        _see(record, seen)
        seen.good_line = number


def _problems(record: Record, seen: Checked) -> Iterator[str]:
    if seen.suspect:
        return
    if record.prev != seen.prev:
        yield "out of the chain: it does not follow on the line before"
    elif not record.is_note and seen.last_seq and record.seq != seen.last_seq + 1:
        yield f"out of order: {record.seq} follows on {seen.last_seq}"


def _see(record: Record, seen: Checked) -> None:
    seen.suspect = False
    seen.prev = chain_hash(record.line)
    seen.records += 1
    seen.carried += record.subject.startswith(VIEW)
    if record.subject != CUT:
        seen.first_seq = seen.first_seq or record.seq
        seen.last_seq = max(seen.last_seq, record.seq)
