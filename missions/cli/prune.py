"""`missions prune`: make room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from missions.cli.artifacts import shown_size
from missions.cli.connection import nats_url_option, quiet_logs, settings
from missions.cli.output import emit, json_option, talk
from missions.cli.parameters import Age

if TYPE_CHECKING:
    from services.runtime.pruning import Pruned
    from services.runtime.settings import Settings


@click.command()
@click.option("--older-than", "older_than_s", type=Age(), required=True, metavar="AGE", help="30d, 12h, 8w.")
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would go.")
@click.option("--even-unread", is_flag=True, help="Also what the whiteboard or orchestrator has not read yet.")
@nats_url_option
@json_option
def prune(as_json: bool, nats_url: str | None, **given: Any) -> None:
    """Remove missions that ended longer ago than AGE from the broker, with all that their goals kept.

    The journal keeps their records. A mission stays at least as long as CHAT keeps chat events, whatever AGE says:
    its event could make it once more. What uploads left that no record names goes too, after a day.
    May be ended and run again at any time.

    \b
    Examples:
      missions prune --older-than 30d --dry-run
      missions prune --older-than 30d
    """
    quiet_logs()
    done = asyncio.run(_prune(settings(nats_url=nats_url), **given))
    if as_json:
        emit(vars(done) | {"dry_run": given["dry_run"]})
    else:
        click.echo(summary(done, dry_run=given["dry_run"]))
        if done.unread:
            hint = "start a whiteboard and an orchestrator, or add --even-unread"
            talk(f"{done.unread} missions stay: not everybody has read their records; {hint}")


def summary(done: Pruned, *, dry_run: bool) -> str:
    """Say what was removed."""
    what = f"{done.missions} missions, {done.artifacts} artifacts, {done.orphans} orphaned uploads"
    return f"{'Would remove' if dry_run else 'Removed'} {what}; {shown_size(done.bytes)} of artifacts"


async def _prune(loaded: Settings, *, older_than_s: float, dry_run: bool, even_unread: bool) -> Pruned:
    from contracts.errors import TopologyError
    from services.runtime.bus import ApiError, Bus
    from services.runtime.pruning import Pruning

    bus = await Bus.connect(loaded, service="setup")
    try:
        return await Pruning(bus, older_than_s, dry_run=dry_run, even_unread=even_unread).run()
    except ApiError as error:
        raise TopologyError(f"cannot prune: {error}. Run: missions setup") from error
    finally:
        await bus.close()
