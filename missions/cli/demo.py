"""`missions demo`: what Missions promises, shown and checked."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from missions.cli.output import coloured, emit, json_option, program, talk

if TYPE_CHECKING:
    from missions.demo_stage import Step

_COLOURS = {"✓": "green", "✗": "red", "[": "bright_white"}
_NOT_OBSERVED = 1


@click.command()
@click.argument("show", type=click.Choice(["tour", "work"]), default="tour")
@click.option("--keep", is_flag=True, help="Keep the directory with the journal, the broker's store and the logs.")
@json_option
def demo(show: str, keep: bool, as_json: bool) -> int:
    """Show what Missions does, and check it.

    \b
    tour  a chat message, retries, several goals, a kill -9 (the default)
    work  ten goals: a retry, a kill -9 and a resume, a question to a person,
          an artifact of 20 MiB; and a handler that is cancelled by force

    Starts a stack of its own in a temporary directory, on free ports. Exits 0 only if everything was observed as it
    should be; else says what was not, and keeps the directory.

    \b
    Examples:
      missions demo
      missions demo work
      missions demo --json --keep
    """
    from missions import demo as product

    began = time.monotonic()
    directory = product.temporary_directory()
    kept = True
    try:
        steps = product.run(_silent if as_json else _show, directory, show)
        kept = keep or not all(step.ok for step in steps)
    except KeyboardInterrupt:
        kept = keep
        raise
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)
    return _sum_up(steps, time.monotonic() - began, directory if kept else None, as_json)


def _sum_up(steps: Sequence[Step], seconds: float, kept: Path | None, as_json: bool) -> int:
    """Say how it went; return the exit code."""
    observations = [observation for step in steps for observation in step.observations]
    missed = sum(not observation.ok for observation in observations)
    if as_json:
        place = str(kept) if kept else None
        emit({"ok": not missed, "seconds": round(seconds, 1), "steps": steps, "data_dir": place})
    elif missed:
        talk(f"\n{missed} of {len(observations)} observations are not as they should be ({seconds:.0f} s).")
    else:
        click.echo(f"\nAll {len(observations)} observations are as they should be ({seconds:.0f} s).")
        click.echo(f"Now yours: {program()} up")
    if kept:
        talk(f"Kept: {kept} (logs in {kept / 'logs'}, the journal in {kept / 'journal'})")
    elif not as_json:
        click.echo("The directory is deleted; --keep keeps it.")
    return _NOT_OBSERVED if missed else 0


def _show(line: str) -> None:
    """Print a line of the demo, in colours where there are some, and where the terminal knows no ticks: without."""
    colour = _COLOURS.get(line.strip()[:1])
    shown = click.style(line, fg=colour) if colour and coloured() else line
    encoding = sys.stdout.encoding or "ascii"
    click.echo(shown.encode(encoding, errors="replace").decode(encoding))


def _silent(_: str) -> None:
    """Print nothing."""
