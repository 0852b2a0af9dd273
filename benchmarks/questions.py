"""`python -m benchmarks.questions`: what the whiteboard answers over many missions, and how fast.

The board is made offline and served by a process of its own; questions are asked over HTTP, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from benchmarks import board
from benchmarks.product import process_cpu_s

_CLIENTS_CONNECT_AT_ONCE = 200
_MIB = 1024 * 1024


class Served:
    """The process that serves a board."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.serving", str(folder)]
        began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        self.port = int(cast("IO[str]", self.process.stdout).readline())
        self.ready_s = time.monotonic() - began
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, path: str) -> Any:
        """Ask one question."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return json.loads(body)

    def rss_mb(self) -> float:
        """Return the memory that it holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    def publish(self, records: int) -> None:
        """Have so many records appended, as if they had come from the stream."""
        stdin = cast("IO[str]", self.process.stdin)
        stdin.write(f"{records}\n")
        stdin.flush()

    def close(self) -> None:
        """End it."""
        self._connection.close()
        cast("IO[str]", self.process.stdin).close()
        self.process.wait(20)


def questions(missions: int, last_seq: int) -> dict[str, Callable[[], str]]:
    """Return what is asked, each with other values every time."""
    pick = random.Random(7)  # noqa: S311 - the same questions every time
    statuses, queues = ("completed", "failed", "cancelled", "rejected", "proposed"), ("default", "gpu", "browser")
    kinds = sorted(set(board.KINDS))

    def word() -> str:
        return pick.choice(board.WORDS)

    def some() -> str:
        given = {
            "status": pick.choice(statuses),
            "queue": pick.choice(queues),
            "conversation": f"room{pick.randrange(board.CONVERSATIONS)}",
            "kind": pick.choice(kinds),
            "q": word(),
        }
        chosen = pick.sample(sorted(given), pick.randint(1, 4))
        return "/missions?" + "&".join(f"{name}={given[name]}" for name in chosen)

    def at() -> int:
        return pick.randrange(1, last_seq)

    def one() -> str:
        return board.mission_id(pick.randrange(missions))

    return {
        "a page": lambda: "/missions",
        "a page by status": lambda: f"/missions?status={pick.choice(statuses)}",
        "a page by one to four filters": some,
        "a page by queue and kind and status": lambda: (
            f"/missions?queue={pick.choice(queues)}&kind={pick.choice(kinds)}&status={pick.choice(statuses)}"
        ),
        "a page that is empty: two queues' failed in one kind": lambda: (
            f"/missions?queue=gpu&status=rejected&kind=http.get&q={word()}"
        ),
        "a search for two words": lambda: f"/missions?q={word()}%20{word()}",
        "a page in a window of time": lambda: (
            f"/missions?status=failed&since=2026-01-01T00:{pick.randrange(30):02d}:00Z&until=2026-01-01T00:40:00Z"
        ),
        "one mission": lambda: f"/missions/{one()}",
        "one mission as of": lambda: f"/missions/{board.mission_id(0)}?as_of={at()}",
        "the board as of": lambda: f"/missions?as_of={at()}",
        "the board as of, active ones": lambda: f"/missions?as_of={at()}&core=active",
        "the board as of, filtered": lambda: f"/missions?as_of={at()}&queue=gpu&status=failed&kind=echo",
        "a diff of 100 records": lambda: f"/diff?from={(low := at())}&to={min(low + 100, last_seq)}",
        "why": lambda: f"/missions/{one()}/why",
        "stats": lambda: "/stats",
    }


def asked(served: Served, name: str, question: Callable[[], str], times: int) -> str:
    """Ask and return a row of the table; the CPU is the server's, and what holds on a busy machine too."""
    for _ in range(5):
        served.get(question())
    took = []
    before = process_cpu_s(served.process.pid)
    for _ in range(times):
        path = question()
        began = time.perf_counter()
        served.get(path)
        took.append((time.perf_counter() - began) * 1_000)
    cpu = (process_cpu_s(served.process.pid) - before) * 1_000 / times
    took.sort()
    return f"| {name} | {took[len(took) // 2]:.1f} | {took[len(took) * 99 // 100]:.1f} | {took[-1]:.1f} | {cpu:.1f} |"


async def hammer(port: int, paths: list[str], connections: int) -> None:
    """Ask for paths over several connections that are kept alive."""

    async def one(mine: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in mine:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(one(paths[start::connections]) for start in range(connections)))


def requests_per_core_second(served: Served, missions: int, requests: int) -> tuple[float, float]:
    """Return requests per second of the server's CPU, and of the clock, over 16 connections."""
    paths = [f"/missions/{board.mission_id(number * 997 % missions)}" for number in range(requests)]
    before, began = process_cpu_s(served.process.pid), time.monotonic()
    asyncio.run(hammer(served.port, paths, 16))
    took, cpu = time.monotonic() - began, process_cpu_s(served.process.pid) - before
    return requests / cpu, requests / took


async def watched(served: Served, clients: int, records: int) -> tuple[float, float, float]:
    """Let many clients follow the feed; return KB per idle client, CPU microseconds per delivery, seconds in all."""
    idle = served.rss_mb()
    readers = []
    for start in range(0, clients, _CLIENTS_CONNECT_AT_ONCE):
        many = min(_CLIENTS_CONNECT_AT_ONCE, clients - start)
        readers += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", served.port) for _ in range(many)))
    for _, writer in readers:
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for reader, _ in readers:
        await reader.readuntil(b"retry: 1000")
    each_kb = (served.rss_mb() - idle) * 1024 / clients
    before, began = process_cpu_s(served.process.pid), time.monotonic()
    served.publish(records)
    await asyncio.gather(*(_receive(reader, records) for reader, _ in readers))
    took, cpu = time.monotonic() - began, process_cpu_s(served.process.pid) - before
    for _, writer in readers:
        writer.close()
    return each_kb, cpu / clients / records * 1e6, took


async def _receive(reader: asyncio.StreamReader, records: int) -> None:
    """Read until every record has come."""
    for _ in range(records):
        await reader.readuntil(b"\ndata: ")


def main() -> int:
    """Make a board, ask, and print what was reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.questions", description=__doc__)
    parser.add_argument("--missions", type=int, default=1_000_000, help="missions on the board (default: 1,000,000)")
    parser.add_argument("--times", type=int, default=300, help="times each question is asked (default: 300)")
    parser.add_argument("--clients", type=int, default=2_000, help="readers of the feed (default: 2,000)")
    parser.add_argument("--records", type=int, default=200, help="records that each of them gets (default: 200)")
    parser.add_argument("--folder", type=Path, help="keep the board here, and use it again")
    args = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory() as aside:
        folder = args.folder or Path(aside)
        if not (folder / "index.sqlite").exists():
            print(f"made at {board.make(folder, args.missions):,.0f} records/s, journalled and indexed", flush=True)
        served = Served(folder)
        try:
            _measure(served, args)
        finally:
            served.close()
    return 0


def _measure(served: Served, args: argparse.Namespace) -> None:
    stats = served.get("/stats")
    size = sum(path.stat().st_size for path in (args.folder or Path()).glob("index.sqlite*")) / _MIB
    print(f"{stats['missions']:,} missions, ready after {served.ready_s:.1f} s, RSS {served.rss_mb():.0f} MB", end="")
    print(
        f", index {size:,.0f} MB\n\n| question | p50 ms | p99 ms | max ms | CPU ms |\n|---|---|---|---|---|", flush=True
    )
    for name, question in questions(args.missions, stats["seq"]).items():
        print(asked(served, name, question, args.times), flush=True)
    per_cpu, per_s = requests_per_core_second(served, args.missions, 20_000)
    print(f"\nGET /missions/{{id}}: {per_cpu:,.0f} requests per second of CPU, {per_s:,.0f} by the clock")
    print(f"RSS after all questions: {served.rss_mb():.0f} MB", flush=True)
    each_kb, delivery_us, took = asyncio.run(watched(served, args.clients, args.records))
    print(f"{args.clients:,} readers of the feed, each got all {args.records:,} records in {took:.1f} s: ", end="")
    print(f"{each_kb:.1f} KB per idle reader, {delivery_us:.1f} µs of CPU per delivery, RSS {served.rss_mb():.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
