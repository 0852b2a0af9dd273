"""Neither who stores an artifact nor who streams it ever holds all of it."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
from pathlib import Path

import pytest

from missions import Client
from missions.stack import Stack

MEGABYTES = 200
#: Generous: what an allocator does is its own affair, a whole artifact would be four times this.
MOST_MB = 50


def peak_mb(pid: int) -> float:
    """Return the most memory that a process ever had."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def keep(stack: Stack, megabytes: int) -> tuple[str, str]:
    async with Client(stack.nats_url, stack.whiteboard_url) as client:
        mission_id = await client.say(f"/run keep.file megabytes={megabytes}")
        mission = await client.wait(mission_id, 120)
        assert mission["status"] == "completed", mission
        return mission_id, mission["result"]


def fetched(stack: Stack, mission_id: str) -> str:
    digest = hashlib.sha256()
    url = f"{stack.whiteboard_url}/missions/{mission_id}/artifacts/g1/file.bin"
    with urllib.request.urlopen(url, timeout=60) as answer:
        while block := answer.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


@pytest.mark.timeout(240)
async def test_an_artifact_of_200_mb_leaves_the_memory_of_the_services_alone() -> None:
    goals = str(Path(__file__).with_name("memory_goals.py"))
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), goals=[goals]) as stack:
        small, sha256 = await keep(stack, 1)
        assert fetched(stack, small) == sha256
        pids = stack.describe()["pids"]
        watched = {"executor": pids["executor"][0], "whiteboard": pids["whiteboard"]}
        before = {name: peak_mb(pid) for name, pid in watched.items()}
        mission_id, sha256 = await keep(stack, MEGABYTES)
        assert fetched(stack, mission_id) == sha256
        after = {name: peak_mb(pid) for name, pid in watched.items()}
    grown = {name: round(after[name] - before[name], 1) for name in after}
    print(f"memory grew by {grown} MB")  # noqa: T201 - the figures that the documentation shows
    assert max(grown.values()) < MOST_MB, grown
