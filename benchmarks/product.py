"""The product, measured from outside: chat event to completed on the whiteboard, everything fsynced.

Producer, orchestrator, executor, whiteboard and broker are processes of their own, as `missions up` starts them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from contracts.messages import ChatEvent
from missions.client import Client
from missions.stack import Stack

TIMEOUT_S = 300.0
ONE_AT_A_TIME = 200
#: Goals that take no time: what an executor owns at once bounds how many records share a batch.
SETTINGS = {"MISSIONS_CONCURRENCY": "1000"}
_TICKS = os.sysconf("SC_CLK_TCK")
_AT_ONCE = 4_000


class Produced(msgspec.Struct, frozen=True):
    """What the producer tells when it is done."""

    began: float
    cpu_s: float
    peak_rss_mb: float


class Figures(msgspec.Struct, frozen=True):
    """What one run reached; the dicts are keyed by role."""

    missions_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: dict[str, float]
    peak_rss_mb: dict[str, float]


def run_product(missions: int, warmup: int, directory: Path | None = None) -> Figures:
    """Start a stack in a directory of its own, warm it up, and measure many missions at once, then one at a time."""
    with tempfile.TemporaryDirectory(dir=directory) as data_dir, Stack(Path(data_dir), env=SETTINGS) as stack:
        produce(stack, "warm", warmup)
        await_completed(stack, warmup)
        before = cpu_seconds(stack)
        produced = produce(stack, "load", missions)
        ended = await_completed(stack, warmup + missions)
        settle(stack)
        after = cpu_seconds(stack)
        cpu = {role: (after[role] - before[role]) * 1000 / missions for role in before}
        rss = {role: peak_rss_mb(pid) for role, pid in processes(stack).items()}
        waits = sorted(asyncio.run(one_at_a_time(stack)))
    return Figures(
        missions_per_s=missions / (ended - produced.began),
        p50_ms=waits[len(waits) // 2] * 1000,
        p99_ms=waits[len(waits) * 99 // 100] * 1000,
        cpu_s_per_1000={"producer": produced.cpu_s * 1000 / missions} | cpu,
        peak_rss_mb={"producer": produced.peak_rss_mb} | rss,
    )


def produce(stack: Stack, name: str, missions: int) -> Produced:
    """Publish chat events from a process of its own; return when every one of them is on the broker's disk."""
    command = [sys.executable, __file__, "--produce", name, "--missions", str(missions), "--nats-url", stack.nats_url]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
    return msgspec.json.decode(done.stdout, type=Produced)


async def publish(nats_url: str, name: str, missions: int) -> Produced:
    """Say `missions` chat events, many at once, as a busy bot does."""
    async with Client(nats_url) as client:
        await client.bus()
        cpu, began = time.process_time(), time.time()
        for start in range(0, missions, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, missions))
            await client.say_many(
                ChatEvent(id=f"{name}-{number}", conversation="bench", text=f"/run echo text=m{number}")
                for number in numbers
            )
        return Produced(began, time.process_time() - cpu, peak_rss_mb(os.getpid()))


def await_completed(stack: Stack, missions: int) -> float:
    """Return when the whiteboard showed that many missions as completed."""
    deadline = time.time() + TIMEOUT_S
    while (stats := get(stack.whiteboard_url, "/stats"))["by_status"]["completed"] < missions:
        if time.time() > deadline:
            raise TimeoutError(f"not within {TIMEOUT_S:g} s: {stats}")
        time.sleep(0.02)
    return time.time()


def settle(stack: Stack) -> None:
    """Wait until replies and acknowledgements are done as well, so that their CPU is counted."""

    async def idle() -> None:
        async with Client(stack.nats_url) as client:
            bus = await client.bus()
            for consumer in ("CHAT.orchestrator", "MISSIONS.orchestrator", "MISSIONS.executor-default"):
                while (info := await bus.api(f"CONSUMER.INFO.{consumer}"))["num_pending"] + info["num_ack_pending"]:
                    await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(idle(), TIMEOUT_S))


async def one_at_a_time(stack: Stack) -> list[float]:
    """Return the seconds from publishing an event to reading its mission as completed, one after the other."""
    waits = []
    async with Client(stack.nats_url) as client:
        await client.bus()
        for number in range(ONE_AT_A_TIME):
            began = time.perf_counter()
            mission_id = await client.say(f"/run echo text=m{number}", id=f"one-{number}", conversation="bench")
            view = await asyncio.to_thread(get, stack.whiteboard_url, f"/missions/{mission_id}?wait=20")
            waits.append(time.perf_counter() - began)
            if view["status"] != "completed":
                raise RuntimeError(f"not completed: {view}")
    return waits


_connections: dict[str, http.client.HTTPConnection] = {}


def get(url: str, path: str) -> Any:
    """Get JSON over a connection that stays open."""
    if url not in _connections:
        _connections[url] = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    _connections[url].request("GET", path)
    return json.loads(_connections[url].getresponse().read())


def processes(stack: Stack) -> dict[str, int]:
    """Return the process id of each role."""
    pids = stack.pids
    return {
        "orchestrator": pids["orchestrator"],
        "executor": pids["executor"][0],
        "whiteboard": pids["whiteboard"],
        "broker": pids["nats"],
    }


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds that each role has used."""
    return {role: process_cpu_s(pid) for role, pid in processes(stack).items()}


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, user and system (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_rss_mb(pid: int) -> float:
    """Return the largest resident size that a process had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Run the producer, or the whole and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missions", type=int, default=20_000)
    parser.add_argument("--warmup", type=int, default=2_000)
    parser.add_argument("--produce", help=argparse.SUPPRESS)
    parser.add_argument("--nats-url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.produce:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            produced = runner.run(publish(args.nats_url, args.produce, args.missions))
        print(msgspec.json.encode(produced).decode())
    else:
        print(msgspec.json.format(msgspec.json.encode(run_product(args.missions, args.warmup))).decode())


if __name__ == "__main__":
    main()
