"""Rigs that need root and loop devices: a power cut, and a disk that is full. Each skips itself where it cannot be."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.whiteboard.checking import Checked, check
from services.whiteboard.journal import Journal
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually
from tests.support.watching import Process, assert_same, complete

CUTS = int(os.environ.get("POWER_CUTS", "3"))
MIB = 1024 * 1024


def run(*command: object) -> str:
    """Run a system's command as it stands in the path; raises where it fails."""
    words = [str(word) for word in command]
    words[0] = shutil.which(words[0]) or words[0]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def why_not() -> str:
    """Return why nothing can be mounted here; empty where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("losetup", "mkfs.ext4", "mount", "umount") if shutil.which(name) is None]
    if missing:
        return f"missing: {', '.join(missing)}"
    try:
        run("losetup", "-f")
    except (subprocess.CalledProcessError, OSError) as error:
        return f"no loop devices: {error}"
    return ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"rig skipped: {why_not()}")


class Mounts:
    """Disks that the test made, taken away at its end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loops: list[str] = []
        self._points: list[Path] = []

    def image(self, image: Path) -> Path:
        """Mount the file system in a file, read and written past the cache of the host."""
        loop = run("losetup", "-f", "--show", "--direct-io=on", image)
        self._loops.append(loop)
        return self._mount(image.name, loop)

    def memory(self, size_bytes: int) -> Path:
        """Mount a disk of this size in memory."""
        return self._mount("memory", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs")

    def _mount(self, name: str, *what: str) -> Path:
        point = self._root / f"at-{name}"
        point.mkdir()
        try:
            run("mount", *what, point)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"rig skipped: cannot mount here: {error.stderr.strip()}")
        self._points.append(point)
        return point

    def close(self) -> None:
        for point in self._points:
            run("umount", "-l", point)
        for loop in self._loops:
            run("losetup", "-d", loop)


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    with closing(Mounts(tmp_path)) as mounts:
        yield mounts


async def load(broker: Broker) -> None:
    """Put missions on the broker until it is cancelled."""
    while True:
        await complete(broker, 40)


async def shown(process: Process) -> int:
    """Return the last sequence that the whiteboard has shown to anybody."""
    status, content = await process.board.answer("/stats")
    return int(content["seq"]) if status == 200 else 0


@pytest.mark.timeout(240)
async def test_after_a_power_cut_the_journal_has_all_that_was_shown(
    nats_url: str, tmp_path: Path, mounts: Mounts
) -> None:
    image = tmp_path / "disk.img"
    run("truncate", "-s", "120M", image)
    run("mkfs.ext4", "-q", image)
    data = mounts.image(image) / "data"
    async with connected(nats_url) as broker:
        process = Process(nats_url, data)
        loading = asyncio.ensure_future(load(broker))
        try:
            for number in range(CUTS):
                before = await shown(process)
                promised = await eventually(lambda seen=before: _beyond(process, seen + 200), 60)  # type: ignore[misc]
                snapshot = tmp_path / f"snap{number}.img"
                process.send(signal.SIGSTOP)
                run("cp", "--sparse=always", image, snapshot)  # what reached the disk, and nothing from the cache
                process.send(signal.SIGCONT)
                await asyncio.to_thread(after_the_cut, mounts.image(snapshot) / "data" / "journal", promised)
        finally:
            loading.cancel()
            process.end(signal.SIGKILL)


async def _beyond(process: Process, seq: int) -> int:
    now = await shown(process)
    return now if now > seq else 0


def after_the_cut(folder: Path, promised: int) -> None:
    """See that the journal opens, is whole, and has everything that anybody was shown."""
    with closing(Journal.open(folder)) as journal:
        assert journal.last_seq >= promised
        assert journal.damaged == 0
        assert [record.seq for record in journal.replay()] == list(range(1, journal.last_seq + 1))
    assert not list(check(folder, Checked()))


@pytest.mark.timeout(120)
async def test_on_a_full_disk_nothing_is_lost_and_it_goes_on_when_there_is_room(nats_url: str, mounts: Mounts) -> None:
    data = mounts.memory(12 * MIB)
    async with connected(nats_url) as broker:
        process = Process(nats_url, data / "data")
        try:
            await process.board.ready(30)
            await complete(broker, 40)
            await process.board.reaches(120)
            fill(data / "ballast")
            await process.board.red("disk", "nothing is taken", 20)
            await complete(broker, 200)
            assert await shown(process) <= 720
            assert (await process.board.answer("/missions"))[0] == 200
            (data / "ballast").unlink()
            run("mount", "-o", "remount,size=24m", data)
            await process.board.reaches(720, 30)
            await process.board.ready(30)
            await assert_same(broker, process.board)
            assert process.end(signal.SIGTERM) == 0
        finally:
            process.end(signal.SIGKILL)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(65_536))
    except OSError:
        pass
    finally:
        os.close(descriptor)
