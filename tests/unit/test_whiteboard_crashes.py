"""Every state in which a crash may leave a journal, and every call that may fail, for each thing done to its files."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec
import pytest

from contracts.errors import JournalBroken, NotAppended
from services.whiteboard import retention
from services.whiteboard.batch import Batch
from services.whiteboard.compression import compress
from services.whiteboard.disk import Disk
from services.whiteboard.journal import Journal
from services.whiteboard.record import Arrival, Record
from services.whiteboard.repair import mend
from services.whiteboard.view import View, fold
from tests.support.crashing import FAULTS, NthFails, RecordingDisk, crash_states
from tests.support.recording import UnsyncedDisk, proposal, stream, whole

#: Two missions that are over, and one that is not.
NOTES = stream([*whole(1), *whole(2), proposal(3), *whole(4)])
BATCHES = [NOTES[:2], NOTES[2:3], NOTES[3:6], NOTES[6:8], NOTES[8:]]

Step = Callable[[Journal], None]


def append(journal: Journal) -> None:
    """Append the batch that follows."""
    batch = next(batch for batch in BATCHES if batch[0].seq > journal.last_seq)
    journal.append(batch)
    if isinstance(journal.files.disk, RecordingDisk):
        journal.files.disk.acked(batch[-1].seq)


def pack(journal: Journal) -> None:
    """Compress the oldest full segment that is not."""
    plain = [part for part in journal.files.sealed if not part.is_packed]
    if plain:  # or the try before did it all, and failed at its end
        compress(journal.files, plain[0])


def drop(journal: Journal) -> None:
    """Let retention take the oldest segment, as the whiteboard would whose index knows the rest."""
    part = journal.files.sealed[0]
    if len(journal.files.sealed) < 2:
        return
    done = retention.fold_through(journal, part)
    assert done is not None
    later = {record.mission_id for record in journal.replay(part.last)}
    retention.drop(journal, done, {view.first_seq for view in done.views.values() if view.mission_id in later})


def repair(journal: Journal) -> None:
    """Damage the oldest segment, so that the file system knows, and repair it."""
    part = journal.files.sealed[0]
    disk = journal.files.disk
    path = part.path.with_name("damaged")
    content = bytearray(part.path.read_bytes())
    content[len(content) // 3] ^= 4
    disk.write_file(path, [bytes(content)])
    disk.rename(path, part.path)
    disk.fsync_dir(journal.folder)
    journal.files.met(part.name, 0)
    asyncio.run(_mend(journal))


async def _mend(journal: Journal) -> None:
    """Do what the whiteboard's care does about damage."""

    async def fetch(seq: int) -> Arrival:
        return NOTES[seq - 1]

    if journal.position.bad:
        journal.seal()
    for part in journal.files.suspects:
        assert (await mend(journal.files, part, fetch, asyncio.to_thread)).whole


SCRIPTS: dict[str, list[Step]] = {
    "append": [append, append, append],
    "rotate": [append, Journal.seal, append, Journal.seal, append],
    "compress": [append, append, Journal.seal, append, pack, append],
    "drop": [append, append, Journal.seal, append, append, Journal.seal, append, drop],
    "drop twice": [append, Journal.seal, append, append, Journal.seal, append, Journal.seal, append, drop, drop],
    "drop what is compressed": [append, append, Journal.seal, append, Journal.seal, append, pack, drop],
    "repair": [append, append, Journal.seal, append, repair],
    "repair what is compressed": [append, append, Journal.seal, append, pack, repair],
}


@cache
def expected(count: int) -> dict[str, View]:
    """Return the views that the first records tell."""
    histories: defaultdict[str, list[Record]] = defaultdict(list)
    for note in NOTES[:count]:
        record = Record(note.seq, note.time, note.subject, note.data, b"")
        histories[record.mission_id].append(record)
    return {name: view for name, history in histories.items() if (view := fold(history))}


def check(folder: Path, acked: int, *, rotten: bool = False) -> None:
    """Open a journal as it was left, see that it is whole and has what was promised, and go on with it.

    Where the disk was made `rotten`, it need only be whole after its repair.
    """
    journal = Journal.open(folder, UnsyncedDisk())
    try:
        if rotten:
            asyncio.run(_mend(journal))
        _check_content(journal, acked)
        while journal.last_seq < NOTES[-1].seq:
            journal.append(NOTES[journal.last_seq : journal.last_seq + 2])
    finally:
        journal.close()
    again = Journal.open(folder, UnsyncedDisk())
    _check_content(again, NOTES[-1].seq)
    again.close()


def _check_content(journal: Journal, acked: int) -> None:
    assert acked <= journal.last_seq <= NOTES[-1].seq
    assert journal.damaged == 0
    records = list(journal.replay())
    kept = NOTES[journal.cut.last_seq : journal.last_seq]
    assert [(record.seq, record.subject, record.data) for record in records] == [
        (note.seq, note.subject, note.data) for note in kept
    ]
    batch = Batch({})
    for record in journal.history():
        batch.add(record)
    views = expected(journal.last_seq)
    assert {name: msgspec.json.encode(view) for name, view in batch.views.items()} == {
        name: msgspec.json.encode(views[name]) for name in batch.views
    }
    left = {name for name, view in views.items() if not view.is_over or view.seq > journal.cut.last_seq}
    assert left <= batch.views.keys()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_crash_leaves_a_prefix_with_all_that_was_promised(tmp_path: Path, script: str) -> None:
    root = tmp_path / "recorded"
    root.mkdir()
    disk = RecordingDisk(root)
    journal = Journal.open(root, disk)
    for step in SCRIPTS[script]:
        step(journal)
    journal.close()
    crashed = tmp_path / "crashed"
    count = 0
    for state in crash_states(disk.calls):
        crashed.mkdir()
        state.put(crashed)
        check(crashed, state.acked, rotten="repair" in script)
        shutil.rmtree(crashed)
        count += 1
    assert count > 20


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_whichever_call_fails_nothing_promised_is_lost(tmp_path: Path, script: str, fault: str) -> None:
    number = 0
    while True:
        folder = tmp_path / str(number)
        disk = NthFails(number, FAULTS[fault])
        promised = run_with(folder, disk, SCRIPTS[script])
        check(folder, promised, rotten="repair" in script)
        shutil.rmtree(folder)
        if disk.left >= 0:
            break
        number += 1
    assert number > 5


def run_with(folder: Path, disk: Disk, steps: list[Step]) -> int:
    """Do the steps, trying again as the whiteboard does; return the last sequence that was promised."""
    journal = None
    promised = 0
    for step in steps:
        for _ in range(2):
            try:
                journal = journal or opened(folder, disk)
                step(journal)
                promised = max(promised, journal.last_seq if step is append else 0)
                break
            except JournalBroken:
                assert journal is not None
                journal.close()
                journal = None
            except (NotAppended, OSError):
                continue
    if journal:
        assert journal.last_seq >= promised
        journal.close()
    return promised


def opened(folder: Path, disk: Disk) -> Journal:
    """Open a journal; once more where that failed."""
    with suppress(Exception):
        return Journal.open(folder, disk)
    return Journal.open(folder, disk)
