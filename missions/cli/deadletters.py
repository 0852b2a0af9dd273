"""`missions deadletters`: what could not be understood."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from missions.cli.connection import nats_url_option, quiet_logs, settings
from missions.cli.output import clock, emit, json_option, program, table, talk

if TYPE_CHECKING:
    from services.runtime.deadletters import DeadLetter
    from services.runtime.settings import Settings

_REASON = 100


@click.command()
@click.argument("number", required=False, type=click.IntRange(min=1))
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="How many, newest first.")
@nats_url_option
@json_option
def deadletters(number: int | None, limit: int, nats_url: str | None, as_json: bool) -> int:
    """List the messages that a service could not understand, with the reason; or print one, by its NUMBER, whole.

    They are kept for 30 days, and nothing waits for them.

    \b
    Examples:
      missions deadletters
      missions deadletters 17 > message.json
      missions deadletters --json | jq -r '.items[].reason'
    """
    quiet_logs()
    letters = asyncio.run(_read(settings(nats_url=nats_url), number, limit))
    if number is not None:
        return _show(number, letters, as_json)
    if as_json:
        emit({"items": [_document(letter) for letter in letters]})
    elif letters:
        table(("NUMBER", "TIME", "SERVICE", "FROM", "REASON"), [_row(letter) for letter in letters])
    else:
        talk("There are none.")
    return 0


def _show(number: int, letters: list[DeadLetter], as_json: bool) -> int:
    """Print the one that was asked for, its message as it came; return 1 where it is not there."""
    if not letters:
        talk(f"missions: there is no dead letter {number}. Those that are: {program()} deadletters")
        return 1
    letter = letters[0]
    if as_json:
        emit(_document(letter))
        return 0
    talk(
        f"{letter.reason}\nfrom {letter.subject}, {letter.stream} {letter.stream_seq}, by {letter.service}, {letter.at}"
    )
    click.echo(letter.data, nl=False)
    return 0


def _document(letter: DeadLetter) -> dict[str, Any]:
    """Return it as JSON: `text`, or `data` in base64 where it is no text."""
    found = {name: getattr(letter, name) for name in letter.__struct_fields__}
    try:
        return {**found, "text": found.pop("data").decode()}
    except UnicodeDecodeError:
        return {**found, "data": letter.data}


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (str(letter.seq), clock(letter.at), letter.service, letter.subject, letter.reason[:_REASON])


async def _read(loaded: Settings, number: int | None, limit: int) -> list[DeadLetter]:
    from contracts.errors import TopologyError
    from services.runtime import deadletters
    from services.runtime.bus import ApiError, Bus

    bus = await Bus.connect(loaded, service="deadletters")
    try:
        if number is None:
            return [letter async for letter in deadletters.newest(bus, limit)]
        return [letter for letter in [await deadletters.find(bus, number)] if letter]
    except ApiError as error:
        raise TopologyError(f"the dead letters cannot be read: {error}. Run: missions setup") from error
    finally:
        await bus.close()
