"""What the command line prints: data on stdout (text or `--json`), talk on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

_COLOURS = {
    "proposed": "cyan",
    "active": "blue",
    "waiting": "yellow",
    "completed": "green",
    "failed": "red",
    "rejected": "red",
    "cancelled": "magenta",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}

#: A column as wide as a mission id keeps its room in a table; wider ones share what is left.
_NARROW = 26

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def emit(content: Any) -> None:
    """Print one JSON document on one line."""
    import msgspec

    click.echo(msgspec.json.encode(content).decode())


def compact(value: Any) -> str:
    """Return a value as one line of JSON."""
    import msgspec

    return msgspec.json.encode(value).decode()


def talk(text: str) -> None:
    """Say something to the person, apart from the data."""
    click.echo(text, err=True)


def program() -> str:
    """Return what to type for this command here: `missions` only where a shell finds this very one by that name."""
    called = Path(sys.argv[0])
    if called.name != "missions":
        return f"{sys.executable} -m missions"
    found = shutil.which(called.name)
    return called.name if found and called.exists() and called.samefile(found) else str(called)


def clean(text: str, most: int = 0) -> str:
    """Return text from outside as one line without control characters, cut to `most` where that is not 0."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if not most or len(line) <= most else line[: most - 1] + "…"


def coloured() -> bool:
    """Whether stdout takes colours: a terminal, and no NO_COLOR."""
    return terminal() and not os.environ.get("NO_COLOR")


def terminal() -> bool:
    """Whether stdout is there, and a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def paint(word: str, width: int = 0) -> str:
    """Return a status word in its colour, padded to `width`."""
    padded = word.ljust(width)
    colour = _COLOURS.get(word)
    return click.style(padded, fg=colour) if colour and coloured() else padded


def clock(time: str) -> str:
    """Return the local time of day, to the millisecond, of an RFC 3339 time."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return time


def short_id(mission_id: str) -> str:
    """Return a prefix that a person can read; a pipe gets the whole id."""
    return mission_id[:10] if terminal() else mission_id


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns: with rich on a terminal that has it, else as aligned text."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if not (coloured() and _rich_table(columns, cleaned)):
        _plain_table(columns, cleaned)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for cells in zip(columns, *rows, strict=True):  # rich takes room first from those that may wrap: the wide ones
        shown.add_column(cells[0], overflow="ellipsis", no_wrap=max(map(len, cells)) <= _NARROW)
    for row in rows:
        shown.add_row(*(Text(cell, _COLOURS.get(cell, ""), no_wrap=True, overflow="ellipsis") for cell in row))
    Console().print(shown)
    return True
