"""`missions setup | doctor`: for whoever operates Missions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from missions.cli.connection import nats_url_option, quiet_logs, settings, token_file_option, whiteboard_url_option
from missions.cli.output import clean, emit, json_option, paint, table, talk

if TYPE_CHECKING:
    from missions.cli.checks import Check
    from services.runtime.settings import Settings

_UNFIT = 78


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 78 when something differs.")
@click.option("--update", is_flag=True, help="Bring what differs to the declaration too.")
@click.option("--print", "printed", type=click.Choice(["json"]), help="Print the declaration; needs no NATS.")
@click.option("--queues", metavar="A,B", help="Queues to make consumers for.  [default: default]")
@click.option("--lease", "lease_s", type=click.FloatRange(min=0.3), metavar="SECONDS", help="Lease of an owner.")
@nats_url_option
@json_option
def setup(only_check: bool, update: bool, printed: str | None, as_json: bool, **given: Any) -> int:
    """Create the streams and consumers that are missing; run it as often as you like.

    What exists and differs is refused with the difference; sizes and ages are yours to choose.

    \b
    Examples:
      missions setup --queues default,gpu
      missions setup --check
    """
    if only_check and update:
        raise click.UsageError("--check changes nothing, --update does: choose one.")
    loaded = settings(**given)
    if printed:
        emit(declaration(loaded))
        return 0
    quiet_logs()
    done, differences = asyncio.run(_setup(loaded, only_check=only_check, update=update))
    if as_json:
        emit({"done": done, "differences": differences})
    else:
        for line in (*done, *differences):
            click.echo(line)
        talk(_advice(differences))
    return _UNFIT if differences else 0


def _advice(differences: Sequence[str]) -> str:
    if not differences:
        return "Everything is as declared."
    only_missing = all(line.endswith(" is missing") for line in differences)
    return f"{len(differences)} differences. Run: missions setup{'' if only_missing else ' --update'}"


async def _setup(loaded: Settings, *, only_check: bool, update: bool) -> tuple[list[str], list[str]]:
    """Return what was done and what still differs."""
    from services.runtime import streams
    from services.runtime.bus import Bus

    bus = await Bus.connect(loaded, service="setup")
    try:
        await streams.wait_for_jetstream(bus)
        before = await streams.compare(bus, loaded.queues, loaded.lease_s)
        if only_check:
            return [], [str(difference) for difference in before]
        await streams.create(bus, loaded.queues, loaded.lease_s)
        if update:
            await streams.update(bus, loaded.queues, loaded.lease_s)
        after = await streams.compare(bus, loaded.queues, loaded.lease_s)
    finally:
        await bus.close()
    mended = [difference for difference in before if difference not in after]
    done = [f"{item.where}: {f'{item.field} updated' if item.field else 'created'}" for item in mended]
    return done, [str(difference) for difference in after]


def declaration(loaded: Settings) -> dict[str, Any]:
    """Return every stream and consumer as the broker's API takes them."""
    from contracts import topology

    consumers = topology.consumers(loaded.queues, loaded.lease_s)
    return {
        "streams": [stream.config for stream in topology.STREAMS],
        "consumers": [{"stream": spec.stream, "config": spec.config} for spec in consumers],
    }


@click.command()
@click.option("--monitor-url", metavar="URL", help="Monitor port of nats-server, to verify sync_interval.")
@nats_url_option
@whiteboard_url_option
@token_file_option
@json_option
def doctor(monitor_url: str | None, as_json: bool, **given: Any) -> int:
    """Look at everything Missions needs, and say what to do about what is wrong.

    Exits 0 only when no check failed. Changes nothing.

    \b
    Example:
      missions doctor --monitor-url http://127.0.0.1:8222
    """
    from missions.cli.examination import examine
    from missions.cli.sources import setting_sources

    options = {name: value for name, value in given.items() if value is not None}
    quiet_logs()
    loaded, checks = asyncio.run(examine(options, monitor_url))
    sources = setting_sources(loaded, options) if loaded else []
    if as_json:
        rows = [dict(zip(("name", "value", "source"), row, strict=True)) for row in sources]
        emit({"ok": not _failed(checks), "checks": checks, "settings": rows})
    else:
        _print_checks(checks)
        if sources:
            click.echo()
            table(("SETTING", "VALUE", "FROM"), sources)
    return 1 if _failed(checks) else 0


def _failed(checks: Sequence[Check]) -> bool:
    return any(check.state == "fail" for check in checks)


def _print_checks(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        hint = f" -> {check.hint}" if check.hint else ""
        click.echo(f"{paint(check.state, 4)}  {check.name.ljust(width)}  {clean(check.detail)}{clean(hint)}")
