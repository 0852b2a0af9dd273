"""What the whiteboard answers over many missions, and how fast: asked over HTTP, one question after the other."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import board, whiteboard
from benchmarks.product import process_cpu_s
from benchmarks.whiteboard import Served

_CLIENTS_CONNECT_AT_ONCE = 200


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
    await asyncio.gather(served.publish(records), *(_receive(reader, records) for reader, _ in readers))
    took, cpu = time.monotonic() - began, process_cpu_s(served.process.pid) - before
    for _, writer in readers:
        writer.close()
    return each_kb, cpu / clients / records * 1e6, took


async def _receive(reader: asyncio.StreamReader, records: int) -> None:
    """Read until every record has come."""
    for _ in range(records):
        await reader.readuntil(b"\ndata: ")


def add_arguments(given: argparse.ArgumentParser) -> None:
    """Add the sizes that may be chosen."""
    given.add_argument("--board", type=int, default=50_000, help="missions on the whiteboard (default: 50,000)")
    given.add_argument("--times", type=int, default=200, help="times each question is asked (default: 200)")
    given.add_argument("--requests", type=int, default=10_000, help="requests for one mission (default: 10,000)")
    given.add_argument("--clients", type=int, default=2_000, help="readers of the feed (default: 2,000)")
    given.add_argument("--records", type=int, default=100, help="records that each of them gets (default: 100)")
    given.add_argument("--folder", type=Path, help="keep the board here, and use it again")


def figures(folder: Path, args: argparse.Namespace) -> Iterator[str]:
    """Serve the board of a folder, ask, and yield what was reached."""
    with whiteboard.Served(folder) as served:
        stats = served.get("/stats")
        yield f"| ready, with its index | {served.ready_s:.1f} s, RSS {served.rss_mb():.0f} MB |"
        yield f"\n{stats['missions']:,} missions\n"
        yield "| question | p50 ms | p99 ms | max ms | CPU ms |\n|---|---|---|---|---|"
        for name, question in questions(stats["missions"], stats["seq"]).items():
            yield asked(served, name, question, args.times)
        per_cpu, per_s = requests_per_core_second(served, stats["missions"], args.requests)
        yield f"\n`GET /missions/{{id}}`: {per_cpu:,.0f} requests per second of CPU, {per_s:,.0f} by the clock"
        yield f"RSS after all questions: {served.rss_mb():.0f} MB"
        each_kb, delivery_us, took = asyncio.run(watched(served, args.clients, args.records))
        yield f"{args.clients:,} readers of the feed, each got all {args.records:,} records in {took:.1f} s"
        yield f"{each_kb:.1f} KB per idle reader, {delivery_us:.1f} µs of CPU per delivery"
        yield f"RSS with all readers: {served.rss_mb():.0f} MB"
