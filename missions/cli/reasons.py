"""`missions why`: why a mission is where it is."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from missions.cli.connection import token_file_option, whiteboard, whiteboard_url_option
from missions.cli.output import clean, emit, json_option, paint


@click.command()
@click.argument("mission_id", metavar="ID")
@whiteboard_url_option
@token_file_option
@json_option
def why(mission_id: str, whiteboard_url: str | None, token_file: str | None, as_json: bool) -> None:
    """Say why the mission ID is where it is: who owns it, what it waits for, what failed.

    --json prints the facts behind the words.

    \b
    Examples:
      missions why 4kqz7m2a
      missions why 4kqz7m2a --json | jq .facts.attempts
    """
    told = asyncio.run(whiteboard(whiteboard_url, token_file).why(mission_id))
    if as_json:
        emit(told)
        return
    for line in _lines(told):
        click.echo(line)


def _lines(told: dict[str, Any]) -> list[str]:
    head = f"{told['mission_id']}  {paint(told['status'])}"
    return [head, clean(told["summary"]), *(f"- {clean(detail)}" for detail in told["details"])]
