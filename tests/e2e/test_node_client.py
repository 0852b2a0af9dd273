"""The contract is enough without Python: the example for Node, with the packages that npm brings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from missions.stack import Stack
from tests.support.documented import ROOT

NEEDED = [name for name in ("node", "npm") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}"),
]


def ran(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_node_says_something_follows_it_and_reads_the_result(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(ROOT / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    ran("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=folder)
    with Stack(tmp_path / "data") as stack:
        env = {"NATS_URL": stack.nats_url, "WHITEBOARD_URL": stack.whiteboard_url}
        said = ran("node", "missions.mjs", "/run echo text=hello", cwd=folder, **env)
    lines = said.splitlines()
    for how in ("live", "durable"):
        assert [line.split()[1] for line in lines if line.startswith(how)] == ["active", "completed"]
    assert lines[-1].split() == ["result", '"hello"']
