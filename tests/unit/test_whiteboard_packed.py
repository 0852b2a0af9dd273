from __future__ import annotations

import os
import random
import subprocess
from contextlib import closing
from pathlib import Path

from services.whiteboard.packed import Packed, pack

LINES = [b'{"seq":%d,"data":"%b"}\n' % (number, os.urandom(30).hex().encode()) for number in range(12_000)]
PLAIN = b"".join(LINES)


def written(path: Path) -> Path:
    path.write_bytes(b"".join(pack(PLAIN[start : start + 10_000] for start in range(0, len(PLAIN), 10_000))))
    return path


def test_what_is_packed_is_gzip_for_everybody(tmp_path: Path) -> None:
    path = written(tmp_path / "segment.gz")
    assert subprocess.run(["/bin/gzip", "-dc", path], capture_output=True, check=True).stdout == PLAIN
    assert path.stat().st_size < len(PLAIN)


def test_any_part_reads_as_the_plain_file_does(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - the same every time
    with closing(Packed(written(tmp_path / "segment.gz"))) as packed:
        assert packed.size_bytes == len(PLAIN)
        for _ in range(50):
            offset, size = chance.randrange(len(PLAIN) + 10), chance.randrange(600_000)
            assert packed.pread(size, offset) == PLAIN[offset : offset + size]


def test_a_flipped_bit_costs_the_lines_of_one_member_and_no_others(tmp_path: Path) -> None:
    whole = written(tmp_path / "segment.gz").read_bytes()
    chance = random.Random(8)  # noqa: S311 - the same every time
    places = [*range(40), *(chance.randrange(len(whole)) for _ in range(40))]
    for number, place in enumerate(places):
        path = tmp_path / f"{number}.gz"
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with closing(Packed(path)) as packed:
            found = set(packed.pread(len(PLAIN), 0).splitlines(keepends=True))
        path.unlink()
        lost = [position for position, line in enumerate(LINES) if line not in found]
        assert sum(len(LINES[position]) for position in lost) < 300_000
        assert lost == list(range(lost[0], lost[-1] + 1)) if lost else True


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.gz").write_bytes(b"")
    with closing(Packed(tmp_path / "empty.gz")) as packed:
        assert (packed.size_bytes, packed.pread(10, 0)) == (0, b"")
