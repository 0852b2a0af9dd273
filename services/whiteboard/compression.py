"""Compressing a full segment: the plain file goes only after the compressed one was read back and is durable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import structlog

from services.whiteboard.files import Files
from services.whiteboard.packed import Packed, pack
from services.whiteboard.segment_files import PART, Reading, Segment, packed_path

log = structlog.get_logger()

_BLOCK_BYTES = 1 << 20


def compress(files: Files, part: Segment) -> None:
    """Put a compressed file in the place of a full segment; raises `OSError`, and then nothing has changed."""
    final = packed_path(part.path)
    aside = final.with_name(final.name + PART)
    with closing(part.open()) as reading:
        files.disk.write_file(aside, pack(_blocks(reading)))
        if not _same(reading, aside):
            files.disk.unlink(aside)
            raise OSError(f"{aside} does not hold what {part.path} does")
    files.disk.rename(aside, final)
    files.disk.fsync_dir(files.folder)
    new = Segment(final, part.first, part.last, final.stat().st_size)
    files.replace(part, new)
    files.disk.unlink(part.path)
    log.info("segment_compressed", segment=part.name, before=part.size_bytes, after=new.size_bytes)


def _same(reading: Reading, aside: Path) -> bool:
    with closing(Packed(aside)) as packed:
        return _digest(packed) == _digest(reading)


def _digest(reading: Reading) -> bytes:
    digest = hashlib.sha256()
    for block in _blocks(reading):
        digest.update(block)
    return digest.digest()


def _blocks(reading: Reading) -> Iterator[bytes]:
    for offset in range(0, reading.size_bytes, _BLOCK_BYTES):
        yield reading.pread(_BLOCK_BYTES, offset)
