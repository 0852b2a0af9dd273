from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.errors import SetupError
from missions.data_dir import DataDir
from missions.ports import Port
from missions.service_process import ServiceProcess, import_path, last_words

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it said nothing"),
        ('{"event": "started"}\n{"event": "service_failed", "error": "port 1 is in use"}\n', "port 1 is in use"),
        ('{"event": "stopped"}\n\n', "stopped"),
        (
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'x'\n",
            "ModuleNotFoundError",
        ),
        ("[1, 2]\n", "[1, 2]"),
    ],
)
def test_the_last_words_of_a_log_are_its_last_error_or_line(log: str, words: str) -> None:
    assert last_words(log).startswith(words)


@pytest.mark.parametrize(
    ("given", "found"), [("", [ROOT]), ("/a", [ROOT, "/a"]), (os.pathsep.join(["/a", ROOT]), ["/a", ROOT])]
)
def test_a_child_finds_our_packages_and_what_it_was_given(given: str, found: list[str]) -> None:
    assert import_path({"PYTHONPATH": given}).split(os.pathsep) == found


def test_a_process_that_never_started_may_be_ended_and_has_no_id(tmp_path: Path) -> None:
    port = Port("127.0.0.1", 0)
    process = ServiceProcess("executor", port, {}, tmp_path / "executor.log")
    for end in (process.terminate, process.stop, process.kill):
        end()
    assert not process.running
    assert process.log_tail() == ""
    assert process.unready() != ""
    with pytest.raises(SetupError, match=r"services.executor is not running"):
        _ = process.pid
    port.release()


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "data"), DataDir(tmp_path / "data")
    first.take()
    with pytest.raises(SetupError, match=f"another missions up uses {first.path}: stop it, or choose another"):
        second.take()
    first.let_go()
    second.take()
    second.let_go()
    second.let_go()


def test_only_its_owner_may_look_into_a_directory(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "data")
    directory.take()
    assert [path.stat().st_mode & 0o777 for path in (directory.path, directory.logs)] == [0o700, 0o700]
    directory.let_go()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot use .*/file/data: Not a directory. Choose another with --data-dir"):
        DataDir(tmp_path / "file" / "data").take()
