"""The whiteboard's writing side: ingest, replay, rebuild and start-up, over a journal that is made here.

The journal is written by the product's own code from messages made up in `board`, three for each mission. Ingest is
what one batch after the other costs the thread that appends, syncs and indexes, without the network before it.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks import board
from services.whiteboard.disk import Disk
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal

_BATCH = 1_000


def figures(folder: Path, missions: int, to_ingest: int) -> Iterator[str]:
    """Yield the rows of a table; afterwards the folder holds the journal and its index, for what is asked next."""
    yield "| | |\n|---|---|"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        yield from ingest(Path(aside), to_ingest)
    if not (folder / "journal").exists():
        board.write(folder, missions)
    yield from read(folder)


def ingest(folder: Path, missions: int) -> Iterator[str]:
    """Append, sync and index."""
    notes = list(board.notes(missions))
    appending = 0.0
    with (
        closing(Journal.open(folder / "journal", Disk())) as journal,
        closing(Index.open(folder / "index.sqlite", journal)) as index,
    ):
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(notes), _BATCH):
            before = time.perf_counter()
            records = journal.append(notes[start : start + _BATCH])
            appending += time.perf_counter() - before
            index.apply(records)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    yield f"| append and fdatasync | {len(notes) / appending:,.0f} records/s |"
    per_s, per_cpu = len(notes) / seconds, len(notes) / cpu
    yield f"| append, fdatasync and index | {per_s:,.0f} records/s, {per_cpu:,.0f} per CPU-second |"


def read(folder: Path) -> Iterator[str]:
    """Replay all of it, and rebuild the index where there is none."""
    with closing(Journal.open(folder / "journal", board.Unsynced())) as journal:
        began, cpu = time.perf_counter(), time.process_time()
        count = sum(1 for _ in journal.replay())
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        yield f"| journal | {journal.size_bytes / 1e6:,.0f} MB, {count:,} records |"
        yield f"| replay of it | {count / seconds:,.0f} records/s, {count / cpu:,.0f} per CPU-second |"
        began, cpu = time.perf_counter(), time.process_time()
        with closing(Index.open(folder / "index.sqlite", journal)) as index:
            indexed = journal.last_seq - index.last_seq
            for records in index.missing(journal):
                index.apply(records)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if indexed:
        yield f"| rebuild of its index | {seconds:,.1f} s, {indexed / cpu:,.0f} records per CPU-second |"
    size = sum(path.stat().st_size for path in folder.glob("index.sqlite*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield f"| index | {size / 1e6:,.0f} MB; peak RSS of this process so far {peak:,.0f} MB |"
