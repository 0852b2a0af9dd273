"""Folders that a process keeps for itself: they outlive it only until the next one looks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.executor.own_folder import OwnFolder

PREFIX = "missions-test-"
OWNER = f"""
from services.executor.own_folder import OwnFolder
own = OwnFolder({PREFIX!r})
(own.path / "file").touch()
print(own.path, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@contextmanager
def owner() -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Run a process that keeps a folder until it is killed."""
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip()), process
        finally:
            process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_live_one_keeps_is_not() -> None:
    with owner() as (kept, _), owner() as (left, process):
        process.kill()
        process.wait()
        assert (left / "file").exists()
        own = OwnFolder(PREFIX)
        assert ((kept / "file").exists(), left.exists()) == (True, False)
        own.remove()
        assert not own.path.exists()


def test_a_folder_without_a_lock_or_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    for name in (f"{PREFIX}not-locked-yet", "missions-else"):
        (tmp_path / name).mkdir()
    (tmp_path / "missions-else" / "lock").touch()
    OwnFolder(PREFIX).remove()
    assert {path.name for path in tmp_path.iterdir()} == {f"{PREFIX}not-locked-yet", "missions-else"}
