"""The format of the journal, checked against the code that writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from missions import journal_lines
from services.whiteboard.record import GENESIS, Note, chain_hash, encode_line


def written(count: int) -> list[bytes]:
    """Return lines as the whiteboard writes them."""
    lines: list[bytes] = []
    before = GENESIS
    for seq in range(1, count + 1):
        data = b'{"mission_id":"m","status":"active","goal":{"id":"g1"}}' if seq > 1 else b'{"title":"\\u00e9 }"}'
        lines.append(
            encode_line(Note(seq, "2026-01-01T00:00:00.000000001Z", "missions.status.default.m", data), before)
        )
        before = chain_hash(lines[-1])
    return lines


def test_lines_of_all_files_come_in_their_order_without_a_torn_one(tmp_path: Path) -> None:
    lines = written(4)
    (tmp_path / "missions.1-2.jsonl").write_bytes(b"\n".join(lines[:2]) + b"\n")
    (tmp_path / "missions.jsonl").write_bytes(b"\n".join([lines[2], lines[3][:20]]))
    assert journal_lines.read(tmp_path) == lines[:3]


def kept(folder: Path, lines: list[bytes]) -> Path:
    (folder / "missions.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def test_what_the_whiteboard_writes_is_sound(tmp_path: Path) -> None:
    assert journal_lines.damaged(kept(tmp_path, written(4))) == []


@pytest.mark.parametrize(("old", "new"), [(b'"m"', b'"n"'), (b'"prev":"', b'"prev" :"'), (b'"seq":2', b'"seq":9')])
def test_a_changed_line_is_found(tmp_path: Path, old: bytes, new: bytes) -> None:
    lines = written(4)
    lines[1] = lines[1].replace(old, new, 1)
    [found] = journal_lines.damaged(kept(tmp_path, lines))
    assert found.startswith("missions.jsonl:2: unreadable")


def test_a_line_that_is_missing_is_found_by_the_next_one(tmp_path: Path) -> None:
    lines = written(4)
    [found] = journal_lines.damaged(kept(tmp_path, [lines[0], *lines[2:]]))
    assert found == "missions.jsonl:2: out of the chain: it does not follow on the line before"


def test_a_line_says_its_mission_status_and_goal() -> None:
    first, second = (journal_lines.decode(line) for line in written(2))
    assert (first.mission_id, first.status, first.goal) == ("m", "proposed", {})
    assert (second.status, second.goal) == ("active", {"id": "g1"})
