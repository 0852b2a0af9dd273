"""`missions up` as a process of its own, and ways to speak to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually_sync

MISSIONS = [sys.executable, "-m", "missions"]
FREE_PORTS = ["--port", "0", "--nats-port", "0"]
END_WITHIN_S = 20


class Up:
    """A running `missions up --json`; `ready` is its line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"ended with {process.wait(END_WITHIN_S)}"
        self.ready: dict[str, Any] = json.loads(line)

    @property
    def pids(self) -> list[int]:
        """Every child."""
        pids = self.ready["pids"]
        return [pids["nats"], pids["orchestrator"], pids["whiteboard"], *pids["executor"]]

    def end(self, *signals: int) -> tuple[int, str]:
        """Send signals and return the exit code and what else was on stdout."""
        for number in signals:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=END_WITHIN_S)
        return self.process.returncode, rest


@contextmanager
def running_up(data_dir: Path, *options: str, **environment: str) -> Iterator[Up]:
    """Run `missions up` until the end of the block, however that comes."""
    with missions("up", "--data-dir", str(data_dir), "--json", *FREE_PORTS, *options, **environment) as process:
        yield Up(process)


@contextmanager
def missions(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of ours until the end of the block."""
    process = subprocess.Popen(
        [*MISSIONS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def refused(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command that must not succeed; return its exit code and the one line on stderr."""
    ran = subprocess.run(
        [*MISSIONS, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    return ran.returncode, ran.stderr


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def get(url: str) -> Any:
    """Return the JSON at a URL."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def say(orchestrator_url: str, message: str) -> str:
    """Say something in chat; return the id of its mission."""
    request = urllib.request.Request(f"{orchestrator_url}/chat/integrated", json.dumps({"message": message}).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["mission_id"])


def outcome(whiteboard_url: str, mission_id: str) -> dict[str, Any]:
    """Return a mission when it is over."""
    mission: dict[str, Any] = get(f"{whiteboard_url}/missions/{mission_id}?wait=20")
    return mission


def completes(ready: dict[str, Any]) -> bool:
    """Whether a mission said now completes."""
    mission_id = say(ready["orchestrator_url"], "/run echo text=hi")
    return bool(outcome(ready["whiteboard_url"], mission_id)["status"] == "completed")


def without_error(*urls: str) -> bool:
    """Whether all of these answer, and say that they are ready."""
    try:
        return all(get(f"{url}/readyz")["ready"] for url in urls)
    except OSError:
        return False


def eventually_dead(pids: list[int]) -> None:
    """Wait until none of these processes is there."""
    eventually_sync(lambda: not any(is_alive(pid) for pid in pids), 20)
