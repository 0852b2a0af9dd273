"""The whiteboard's figures: ingest, replay, rebuild, start-up and memory, over a journal that is made here.

    python -m benchmarks.journal --missions 1000000

The journal is written by the product's own code from messages made up here, three for each mission. Ingest is what one
batch after the other costs the thread that appends, syncs and indexes; what comes before it, the network, is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Goal, Mission, now, status_record
from missions import ports
from missions.nats_server import NatsServer
from services.runtime import streams
from services.runtime.bus import Bus
from services.runtime.settings import Settings
from services.whiteboard.disk import Disk
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import RESTORED, Note

_BATCH = 1_000


class UnsyncedDisk(Disk):
    """Writes without waiting, to make a journal that only has to be there."""

    def fdatasync(self, descriptor: int) -> None:
        """Do nothing."""


def messages(missions: int, first: int = 1) -> Iterator[Note]:
    """Yield the three messages of each mission, in the order in which a busy stream has them."""
    seq = 0
    goals = (Goal(id="g1", kind="echo", params={"text": "hi"}),)
    for start in range(first, first + missions, 50):
        names = [ids.mission_id("bench", str(number)) for number in range(start, min(start + 50, first + missions))]
        block = [(subjects.proposed("default", name), _proposal(name, goals)) for name in names]
        block += [(subjects.status("default", name), _status(name, Status.ACTIVE)) for name in names]
        block += [(subjects.status("default", name), _status(name, Status.COMPLETED)) for name in names]
        for subject, data in block:
            seq += 1
            yield Note(seq, f"2026-01-01T{seq // 3_600_000:02d}:00:00.{seq % 1_000_000_000:09d}Z", subject, data)


def _proposal(name: str, goals: tuple[Goal, ...]) -> bytes:
    return codec.encode(Mission(mission_id=name, goals=goals, event_id=f"{name}.0.1", at=now(), title="/run echo"))


def _status(name: str, status: Status) -> bytes:
    record = status_record(
        event_id=f"{name}.1.{status}", mission_id=name, status=status, actor="executor/bench/1", attempt=1,
        result={"text": "hi"} if status is Status.COMPLETED else None,
    )  # fmt: skip
    return codec.encode(record)


def batches(notes: Iterator[Note]) -> Iterator[list[Note]]:
    """Yield batches as the whiteboard takes them."""
    while batch := list(islice(notes, _BATCH)):
        yield batch


def ingest(folder: Path, missions: int) -> None:
    """Append, sync and index."""
    made = list(batches(messages(missions)))
    with (
        closing(Journal.open(folder / "journal")) as journal,
        closing(Index.open(folder / "i.sqlite", journal)) as index,
    ):
        began, cpu = time.perf_counter(), time.process_time()
        appending = 0.0
        for batch in made:
            before = time.perf_counter()
            records = journal.append(batch)
            appending += time.perf_counter() - before
            index.apply(records)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    say("append and fdatasync", missions * 3 / appending, "records/s")
    say("append, fdatasync and index", missions * 3 / seconds, f"records/s ({missions * 3 / cpu:,.0f} per CPU-second)")


def make(folder: Path, missions: int) -> None:
    """Write a journal and nothing else."""
    began = time.perf_counter()
    with closing(Journal.open(folder / "journal", UnsyncedDisk())) as journal:
        for batch in batches(messages(missions)):
            journal.append(batch)
        os.sync()
        say("journal made", journal.size_bytes / 1e6, f"MB in {time.perf_counter() - began:.0f} s")


def read(folder: Path) -> None:
    """Replay all of it, and rebuild the index."""
    with closing(Journal.open(folder / "journal")) as journal:
        began = time.perf_counter()
        count = sum(1 for _ in journal.replay())
        say("replay", count / (time.perf_counter() - began), "records/s")
        began = time.perf_counter()
        with closing(Index.open(folder / "index.sqlite", journal)) as index:
            for records in index.missing(journal):
                index.apply(records)
            say("rebuild of the index", time.perf_counter() - began, f"s ({sum(index.statuses.values()):,} missions)")
        size = sum(path.stat().st_size for path in folder.glob("index.sqlite*"))
        say("index", size / 1e6, f"MB; peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def start(folder: Path, missions: int) -> None:
    """Start a whiteboard as a process, until it answers with everything that the journal holds."""
    with tempfile.TemporaryDirectory() as store, NatsServer(Path(store)) as server:
        asyncio.run(_belong(server.url, folder, missions * 3))
        (port,) = ports.take("127.0.0.1", 0, 1)
        port.release()
        environment = os.environ | {
            "MISSIONS_NATS_URL": server.url,
            "MISSIONS_DATA_DIR": str(folder),
            "MISSIONS_HTTP_PORT": str(port.number),
            "MISSIONS_LOG_LEVEL": "error",
        }
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "services.whiteboard"], env=environment)
        try:
            _wait_for(f"http://127.0.0.1:{port.number}/readyz", b'"ready":true')
            say("start until it is ready", time.perf_counter() - began, f"s; RSS {_rss_mb(process.pid):.0f} MB")
        finally:
            process.terminate()
            process.wait()


async def _belong(url: str, folder: Path, last_seq: int) -> None:
    """Make a stream that the journal believes is its own, and bring the index up to that."""
    bus = await Bus.connect(Settings(nats_url=url), "setup")
    spec = next(stream for stream in topology.STREAMS if stream.name == topology.MISSIONS)
    made = await bus.api(f"STREAM.CREATE.{spec.name}", spec.config | {"first_seq": last_seq + 1})
    await streams.create(bus, ("default",), topology.DEFAULT_LEASE_S)
    await bus.close()
    with (
        closing(Journal.open(folder / "journal")) as journal,
        closing(Index.open(folder / "index.sqlite", journal)) as index,
    ):
        index.apply([journal.note(RESTORED, last_seq, {"created": made["created"]})])


def _wait_for(url: str, text: bytes) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a server of this benchmark
                if text in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"{url} did not show {text.decode()} in two minutes")


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def say(what: str, figure: float, unit: str) -> None:
    """Print one figure."""
    print(f"{what:32} {figure:12,.1f} {unit}", flush=True)


def main() -> None:
    """Measure, each in a directory that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missions", type=int, default=100_000, help="size of the journal that is read")
    parser.add_argument("--ingest", type=int, default=20_000, help="missions to ingest")
    parser.add_argument("--dir", help="where to work; its disk is measured")
    given = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(dir=given.dir) as name:
        ingest(Path(name), given.ingest)
    with tempfile.TemporaryDirectory(dir=given.dir) as name:
        make(Path(name), given.missions)
        read(Path(name))
        start(Path(name), given.missions)


if __name__ == "__main__":
    main()
