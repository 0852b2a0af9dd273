"""Handlers that do what no handler should, for a process of their own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from services.executor.context import Context, Reject
from services.executor.registry import goal


@goal("p.add", isolation="process")
def add(ctx: Context, a: int, b: int = 1) -> dict[str, Any]:
    """Add, and tell where."""
    ctx.progress(1, 2, "half")
    return {"sum": a + b, "pid": os.getpid(), "ppid": os.getppid(), "cwd": str(Path.cwd()), "attempt": ctx.attempt}


@goal("p.add.async", isolation="process")
async def add_async(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def descriptors() -> list[str]:
    """Return what is open beside the standard streams."""
    found = [Path(f"/proc/self/fd/{number}") for number in range(3, 64)]
    return sorted(str(path.readlink()).partition(":")[0] for path in found if path.is_symlink())


@goal("p.environment", isolation="process")
def environment() -> dict[str, Any]:
    Path("left-behind").mkdir()
    Path("left-behind/file").write_text("x")
    status = Path("/proc/self/status").read_text()
    return {
        "names": sorted(os.environ),
        "descriptors": descriptors(),
        "session": os.getsid(0) == os.getpid(),
        "no_new_privs": "NoNewPrivs:\t1" in status,
    }


@goal("p.loops", isolation="process", timeout=0.5, cancel_grace=0.2)
def loops() -> None:
    while True:
        pass


@goal("p.burns", isolation="process", cpu_s=1)
def burns() -> None:
    while True:
        pass


@goal("p.forks", isolation="process")
def forks(file: str, wait_s: float = 0.0) -> str:
    """Leave a child in the group and a daemon outside of it, each of which writes its id into the file first."""
    for daemon in (False, True):
        if os.fork() == 0:
            if daemon:
                os.setsid()
                if os.fork() != 0:
                    os._exit(0)
            with Path(file).open("ab", buffering=0) as trace:
                trace.write(f"{os.getpid()}\n".encode())
            time.sleep(600)
            os._exit(0)
    while len(Path(file).read_bytes().split()) < 2:
        time.sleep(0.005)
    time.sleep(wait_s)
    return "left them"


@goal("p.returns.twice", isolation="process")
def returns_twice() -> str:
    return "child" if os.fork() == 0 else "parent"


@goal("p.eats", isolation="process", memory_mb=400)
def eats() -> int:
    eaten = []
    while True:
        eaten.append(bytearray(10_000_000))


@goal("p.prints", isolation="process", output_kb=64)
def prints() -> None:
    while True:
        print("x" * 10_000)  # noqa: T201 - that is what it does


@goal("p.prints.much", isolation="process", output_kb=50_000)
def prints_much() -> None:
    while True:
        os.write(1, b"x" * 65_536)


@goal("p.floods", isolation="process", timeout=1.0, cancel_grace=0.1)
def floods(ctx: Context) -> None:
    while True:
        ctx.progress(1, 2, "y" * 256)


@goal("p.garbles", isolation="process")
def garbles() -> None:
    for number in range(3, 20):
        try:
            stream = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        stream.sendall(b"\x00\x00\x00\x04nope" * 3)
    time.sleep(600)


@goal("p.exits", isolation="process")
def exits(code: int = 3) -> None:
    print("so long", file=sys.stderr)  # noqa: T201 - its last words
    sys.stderr.flush()
    os._exit(code)


@goal("p.raises", isolation="process")
def raises(which: str) -> None:
    known: dict[str, BaseException] = {
        "value": ValueError("bad value"),
        "exit": SystemExit(4),
        "keyboard": KeyboardInterrupt(),
        "base": BaseException("bare"),
        "reject": Reject("never"),
    }
    raise known[which]


@goal("p.kills.itself", isolation="process")
def kills_itself(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    time.sleep(600)


@goal("p.crashes", isolation="process")
def crashes() -> None:
    ctypes.string_at(0)


@goal("p.kills.zygote", isolation="process")
def kills_zygote(ctx: Context, file: str, times: int = 1_000) -> None:
    if ctx.attempt > times:
        return
    child = subprocess.Popen(["/bin/sleep", "600"])
    Path(file).write_text(f"{child.pid}\n")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


@goal("p.stops.zygote", isolation="process")
def stops_zygote() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)


@goal("p.strange", isolation="process")
def strange() -> object:
    return object()


@goal("p.huge", isolation="process")
def huge() -> str:
    return "x" * 100_000_000


@goal("p.watchful", isolation="process")
def watchful(ctx: Context, file: str) -> str:
    Path(file).write_text(str(os.getpid()))
    while not ctx.cancelled:
        time.sleep(0.005)
    Path(file).write_text("stopped")
    return "stopped by itself"


@goal("p.cancelled", isolation="process")
async def cancelled(file: str) -> None:
    trace = Path(file)
    try:
        await asyncio.to_thread(trace.write_text, str(os.getpid()))
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        await asyncio.to_thread(trace.write_text, "cancelled")
        raise


@goal("p.stubborn", isolation="process", cancel_grace=0.2)
def stubborn(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


@goal("p.stubborn.for.ever", isolation="process")
def stubborn_for_ever(file: str) -> None:
    stubborn(file)


@goal("holds.the.gil")
def holds_the_gil(seconds: float) -> float:
    """Match a regular expression that backtracks, which holds the GIL, again and again for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        re.fullmatch(r"(a|a)*b", "a" * 20)
    return seconds


@goal("holds.the.gil.whole")
def holds_the_gil_whole(milliseconds: int) -> int:
    """Sleep in C without letting go of the GIL."""
    ctypes.PyDLL(None).usleep(milliseconds * 1000)
    return milliseconds


HOSTILE = (
    add, add_async, environment, loops, burns, forks, returns_twice, eats, prints, prints_much, floods, garbles, exits,
    raises, kills_itself, crashes, kills_zygote, stops_zygote, strange, huge, watchful, cancelled, stubborn,
)  # fmt: skip
