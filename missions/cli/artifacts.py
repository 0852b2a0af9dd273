"""`missions artifacts | fetch`: what goals kept."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from missions.cli.connection import token_file_option, whiteboard, whiteboard_url_option
from missions.cli.output import clean, emit, json_option, table, talk

if TYPE_CHECKING:
    from missions.artifacts import StoredArtifact
    from missions.whiteboard import Whiteboard

_STDOUT = Path("-")
_KIB = 1024


@click.command("artifacts")
@click.argument("mission_id", metavar="ID")
@whiteboard_url_option
@token_file_option
@json_option
def artifacts(mission_id: str, as_json: bool, **board: str | None) -> None:
    """List what the goals of the mission ID kept: artifacts, and results too large for a record.

    \b
    Examples:
      missions artifacts 4kqz7m2a
      missions artifacts 4kqz7m2a --json
    """
    items = asyncio.run(whiteboard(**board).artifacts(mission_id))
    if as_json:
        emit({"items": items})
    elif items:
        table(("GOAL", "NAME", "SIZE", "TYPE", "SHA-256"), [_row(item) for item in items])
    else:
        talk("Its goals kept nothing.")


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return (item["goal"], clean(item["name"]), shown_size(item["size_bytes"]), item["media_type"], item["sha256"][:12])


def shown_size(size_bytes: int) -> str:
    """Return a size as a person reads it."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):  # noqa: B007 - the last one is the answer
        if size < _KIB:
            break
        size /= _KIB
    else:
        size *= _KIB
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


@click.command()
@click.argument("mission_id", metavar="ID")
@click.argument("name", metavar="NAME")
@click.option("--goal", help="The goal that kept it, where several kept one of this name.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it; - is stdout.  [its name]",
)
@click.option("-f", "--force", is_flag=True, help="Write over a file that is there.")
@whiteboard_url_option
@token_file_option
@json_option
def fetch(  # one option each
    mission_id: str,
    name: str,
    goal: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **board: str | None,
) -> None:
    """Fetch the artifact NAME of the mission ID into a file.

    The file is there only once all of it came and its hash is right.

    \b
    Examples:
      missions fetch 4kqz7m2a report.pdf
      missions fetch 4kqz7m2a result -o - | jq .
    """
    target = _target(output or Path(name), force=force)
    found = asyncio.run(_fetch(whiteboard(**board), mission_id, name, goal, target))
    if as_json and target != _STDOUT:
        emit({"file": str(target), "goal": found.goal, **_described(found)})
    elif target != _STDOUT:
        talk(f"{clean(str(target))}: {shown_size(found.artifact.size_bytes)}, verified")


def _described(found: StoredArtifact) -> dict[str, Any]:
    artifact = found.artifact
    return {"name": artifact.name, "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}


def _target(target: Path, *, force: bool) -> Path:
    """Return where to write, looked at before anything is fetched."""
    if target == _STDOUT:
        return target
    if target.is_dir() or not target.parent.is_dir():
        raise click.UsageError(f"{target} is no file that can be written: name one with -o FILE.")
    if target.exists() and not force:
        raise click.UsageError(f"{target} is there already: -f writes over it, -o FILE names another.")
    return target


async def _fetch(board: Whiteboard, mission_id: str, name: str, goal: str | None, target: Path) -> StoredArtifact:
    from missions.artifacts import over_http, pick

    found = pick(await over_http(board, mission_id), name, goal)
    if target == _STDOUT:
        async for block in found.blocks():
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    else:
        await found.save(target)
    return found
