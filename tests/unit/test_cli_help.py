"""The command line as somebody meets it who does not know it yet."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import missions
from missions import Client, Context, goal
from missions.cli import COMMANDS, cli

HEAVY = {"nats", "pydantic", "pydantic_settings", "starlette", "uvicorn", "structlog", "rich", "msgspec"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_teaches_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])

    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert f"  missions {name}" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_whoever_may_name_a_whiteboard_may_name_the_token_for_it(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--whiteboard-url" in options) == ("--token-file" in options)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"])

    assert result.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in result.output
        assert text in result.output


def test_no_arguments_at_all_show_the_help() -> None:
    result = CliRunner().invoke(cli, [])

    assert result.exit_code == 2
    assert "missions up" in result.output


@pytest.mark.parametrize("statement", ["import missions", "from missions.cli import cli; cli(['--help'])"])
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    code = f"import sys, atexit; atexit.register(lambda: print('\\n', *sys.modules)); {statement}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)

    assert not HEAVY & set(ran.stdout.splitlines()[-1].split())


def test_the_package_exports_what_goals_and_clients_need() -> None:
    assert {Client.__name__, Context.__name__, goal.__name__} == {"Client", "Context", "goal"}
    assert set(missions.__all__) <= set(dir(missions))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        missions.nothing  # noqa: B018 - that is the test
