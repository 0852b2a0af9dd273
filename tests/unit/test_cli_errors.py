"""Every error of the command line: one line that says what to do, and an exit code that means something."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from contracts import errors
from missions.cli import MissionsGroup, cli

HERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _nothing_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_CONNECT_S", "0.1")
    monkeypatch.setenv("MISSIONS_NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("MISSIONS_WHITEBOARD_URL", HERE)


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def failing_with(error: BaseException, *args: str) -> Result:
    """Run a command that ends with this error."""

    @click.command(cls=MissionsGroup, invoke_without_command=True)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None:
        raise error

    return CliRunner().invoke(group, args)


@pytest.mark.parametrize(
    ("args", "exit_code", "said"),
    [
        (["say"], 2, "missions say: Missing argument 'TEXT'. Try: missions say --help"),
        (["say", ""], 2, "missions say: Invalid value for 'TEXT': it says nothing."),
        (["up", "--port", "abc"], 2, "'abc' is not a valid port number"),
        (["sya", "hi"], 2, "missions: no such command: sya; did you mean say? Try: missions --help"),
        (["list", "--status", "done"], 2, "'done' is not one of"),
        (["setup", "--check", "--update"], 2, "choose one"),
        (["list"], 69, f"The whiteboard is not reachable at {HERE}"),
        (["show", "a.>"], 66, "no mission id"),
        (["watch", "abcdefgh"], 69, "Start one: missions up"),
        (["say", "hi"], 69, "NATS is not reachable at nats://127.0.0.1:1"),
        (["say", "hi", "--conversation", "a.>"], 65, "conversation 'a.>' is not 1 to 64 of A-Z a-z 0-9 _ -"),
        (["setup"], 69, "Start one: missions up"),
        (["list", "--whiteboard-url", "ftp://here"], 78, "is not a URL"),
    ],
)
def test_what_goes_wrong_is_one_line_with_its_exit_code(args: list[str], exit_code: int, said: str) -> None:
    result = run(*args)

    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("missions")
    assert said in result.stderr


def test_a_misspelt_setting_is_named_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_WHITEBORD_URL", HERE)

    result = run("list")

    assert result.exit_code == 78
    assert "did you mean MISSIONS_WHITEBOARD_URL?" in result.stderr


@pytest.mark.parametrize("kind", [errors.Lost, errors.TopologyError, errors.WaitOver, errors.NotFound, errors.TooLarge])
def test_our_own_errors_end_with_their_own_exit_code(kind: type[errors.MissionsError]) -> None:
    result = failing_with(kind("what\nhappened"))

    assert result.exit_code == kind.exit_code
    assert len(result.stderr.splitlines()) == 1


def test_an_error_in_a_task_group_is_said_like_any_other() -> None:
    result = failing_with(ExceptionGroup("several", [ExceptionGroup("inner", [errors.StreamFull("no room")])]))

    assert (result.exit_code, result.stderr) == (75, "missions: no room\n")


def test_a_bug_of_ours_is_one_line_and_debug_shows_where() -> None:
    short = failing_with(ValueError("oops"))
    long = failing_with(ValueError("oops"), "--debug")

    assert short.exit_code == long.exit_code == 70
    assert short.stderr == "missions: our fault: ValueError: oops. missions --debug … shows where\n"
    assert "Traceback (most recent call last)" in long.stderr


def test_ctrl_c_ends_quietly_with_130() -> None:
    result = failing_with(KeyboardInterrupt())

    assert result.exit_code == 130
    assert result.stderr == ""


@pytest.mark.parametrize("args", [["--help"], ["setup", "--print", "json"]])
def test_a_reader_that_is_gone_is_no_traceback(args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        command = [sys.executable, "-m", "missions", *args]
        ran = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, timeout=20, check=False)

    assert (ran.returncode, ran.stderr) == (1, b"")


def test_a_command_may_return_its_exit_code() -> None:
    @click.command(cls=MissionsGroup, invoke_without_command=True)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> int:
        return 3

    assert CliRunner().invoke(group, []).exit_code == 3
