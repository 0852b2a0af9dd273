"""`missions token`: make a bearer token for HTTP."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from missions.cli.output import emit, json_option, talk

_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def _named(ctx: click.Context, param: click.Parameter, name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise click.BadParameter("1 to 64 of A-Z a-z 0-9 _ . @ -", ctx, param)
    return name


@click.command()
@click.argument("name", callback=_named)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write", "admin"]),
    default=("read",),
    show_default=True,
    help="What it may do; may be repeated. write includes read, admin both.",
)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Add its line to this MISSIONS_TOKENS_FILE.")
@json_option
def token(name: str, scopes: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Make a token called NAME, for HTTP; it is shown once, the file holds its hash only.

    A running service reads a changed file within a second. To replace a token, make another of the same name, hand it
    out, then delete the line of the old one.

    \b
    Examples:
      missions token bot --scope write --file tokens
      missions token dashboard --json
    """
    from services.runtime import tokens

    made, line = tokens.new(name, scopes)
    if path is not None:
        _add(path, line)
    if as_json:
        emit({"name": name, "scopes": list(scopes), "token": made, "line": line})
        return
    click.echo(made)
    talk(f"Added to {path}" if path else f"Add this line to MISSIONS_TOKENS_FILE:\n{line}")


def _add(path: Path, line: str) -> None:
    """Append a line to a file that only its owner reads; the file is as before where it would not be valid."""
    from contracts.errors import SetupError
    from services.runtime import tokens

    before = path.read_text() if path.exists() else ""
    aside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(before + ("" if before.endswith("\n") or not before else "\n") + line + "\n")
        tokens.read(aside)
        aside.replace(path)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
