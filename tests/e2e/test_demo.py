"""`missions demo`, whose exit code a script can trust."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from missions.demo import SHOWS
from tests.support.up import MISSIONS

pytestmark = pytest.mark.timeout(180)


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MISSIONS, "demo", *options], capture_output=True, text=True, timeout=160, check=False)


@pytest.mark.parametrize("show", SHOWS)
def test_everything_is_observed_and_nothing_is_left(show: str) -> None:
    ran = demo(show)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "✗" not in ran.stdout
    assert "grep" not in ran.stdout
    assert f"Now yours: {sys.executable} -m missions up" in ran.stdout
    assert [f"[{number}]" in ran.stdout for number in range(1, len(SHOWS[show].steps) + 1)] == [True] * len(
        SHOWS[show].steps
    )
    assert not Path(ran.stdout.split()[ran.stdout.split().index("in") + 1]).exists()
    assert ran.stderr == ""


def test_json_is_one_line_and_the_directory_is_kept_when_asked_for() -> None:
    ran = demo("--json", "--keep")
    (line,) = ran.stdout.splitlines()
    summary = json.loads(line)
    assert (ran.returncode, summary["ok"]) == (0, True)
    assert [step["number"] for step in summary["steps"]] == list(range(1, len(SHOWS["tour"].steps) + 1))
    assert all(observation["ok"] for step in summary["steps"] for observation in step["observations"])
    assert (Path(summary["data_dir"]) / "journal" / "missions.jsonl").exists()
    shutil.rmtree(summary["data_dir"])
