from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.errors import SetupError
from missions.data_dir import DataDir
from missions.ports import Port
from missions.service_process import ServiceProcess, import_path, last_words
from tests.support.eventually import eventually_sync
from tests.support.somebody import somebody_ready

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it said nothing"),
        ('{"event": "started"}\n{"event": "service_failed", "error": "port 1 is in use"}\n', "port 1 is in use"),
        ('{"event": "stopped"}\n\n', "stopped"),
        ('{"level": "error", "event": "failed", "error": "no room"}\n{"level": "info", "event": "stopped"}', "no room"),
        ('{"level": "error", "event": "failed", "error": "no room"}\nTraceback\nKeyError: 1\n', "KeyError: 1"),
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


def test_somebody_else_who_answers_on_its_port_does_not_make_it_ready(tmp_path: Path) -> None:
    port = Port("127.0.0.1", 0)
    process = ServiceProcess("executor", port, {**os.environ}, tmp_path / "log")
    with somebody_ready(port.number):
        process.start()
        assert process.unready() == f"somebody else answers on port {port.number}"
        process.kill()
        assert process.unready() == "killed by SIGKILL"
    port.release()


def test_how_a_process_ended_is_told_with_its_last_error(tmp_path: Path) -> None:
    port = Port("127.0.0.1", 0)
    process = ServiceProcess("executor", port, {"MISSIONS_LEASES": "1"}, tmp_path / "log")
    assert process.how_it_ended() == "it was not started"
    process.start()
    assert process.how_it_ended() == "it runs"
    eventually_sync(lambda: not process.running, within_s=20)
    assert process.how_it_ended().startswith("exit code 78: missions executor: unknown setting MISSIONS_LEASES")
    process.start()
    process.kill()
    assert process.how_it_ended() == "killed by SIGKILL"
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
