"""`missions journal verify | rebuild | restore-stream`: for the journal of a whiteboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from missions.cli.connection import nats_url_option, quiet_logs, settings
from missions.cli.output import clean, emit, json_option, talk

_DAMAGED = 1
_MOST_SHOWN = 100
Function = TypeVar("Function", bound=Callable[..., Any])

data_dir_option = click.option(
    "--data-dir", metavar="DIR", help="The whiteboard's data.  [default: MISSIONS_DATA_DIR, missions-data]"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def journal() -> None:
    """Check a journal, or make it, its index or the stream anew.

    \b
    Examples:
      missions journal verify --data-dir /var/lib/missions
      missions journal rebuild --from journal
      missions journal rebuild --from stream
      missions journal restore-stream
    """


@journal.command()
@data_dir_option
@json_option
def verify(data_dir: str | None, as_json: bool) -> int:
    """Read every line and check its checksum, the chain and the order. Changes nothing; the whiteboard may run.

    Exits 1 when something is damaged. A torn last line is none: it was never promised, and the next start cuts it off.

    \b
    Example:
      missions journal verify --json
    """
    from services.whiteboard.checking import Checked, check

    folder = _folder(data_dir)
    seen = Checked()
    findings = list(check(folder, seen))
    damaged = [finding for finding in findings if not finding.torn]
    if as_json:
        counts = {name: getattr(seen, name) for name in ("files", "records", "first_seq", "last_seq", "carried")}
        emit({"ok": not damaged, **counts, "findings": findings})
        return _DAMAGED if damaged else 0
    for finding in findings[:_MOST_SHOWN]:
        kind = "torn tail, the next start cuts it off: " if finding.torn else ""
        click.echo(f"{clean(str(folder / finding.file))}:{finding.line}: {kind}{clean(finding.problem)}")
    talk(_said(seen.records, seen.files, seen.first_seq, seen.last_seq, len(damaged)))
    return _DAMAGED if damaged else 0


def _said(records: int, files: int, first: int, last: int, damaged: int) -> str:
    counted = f"{records} records in {files} files, {first} to {last}"
    if not damaged:
        return f"{counted}: all whole."
    return (
        f"{counted}: {damaged} problems. A whiteboard that runs repairs full files from the stream as far as it has"
        " them; else: missions journal rebuild --from stream"
    )


@journal.command()
@click.option(
    "--from", "source", type=click.Choice(["journal", "stream"]), required=True,
    help="journal: the index anew. stream: the journal and the index anew, the old journal is kept aside.",
)  # fmt: skip
@data_dir_option
@nats_url_option
@json_option
def rebuild(source: str, data_dir: str | None, nats_url: str | None, as_json: bool) -> int:
    """Make the index anew from the journal, or the journal anew from the stream. Stop the whiteboard first.

    \b
    Examples:
      missions journal rebuild --from journal
      missions journal rebuild --from stream --nats-url nats://nats:4222
    """
    from missions import journal_keeping

    quiet_logs()
    loaded = settings(data_dir=data_dir, nats_url=nats_url)
    if source == "journal":
        rebuilt = journal_keeping.rebuild_index(loaded)
    else:
        rebuilt = asyncio.run(journal_keeping.rebuild_journal(loaded))
    if as_json:
        emit(rebuilt)
        return 0
    talk(f"{rebuilt.missions} missions, up to sequence {rebuilt.last_seq}.")
    if rebuilt.gaps:
        talk(f"{rebuilt.gaps} gaps: the stream does not hold everything any more.")
    if rebuilt.kept:
        talk(f"The journal that was there before: {rebuilt.kept}")
    return 0


@journal.command("restore-stream")
@click.option("--replace", is_flag=True, help="Delete a stream MISSIONS that holds other messages.")
@click.option(
    "--margin", type=click.IntRange(min=0), metavar="N",
    help="Sequences to leave free above the journal's last.  [default: 1000000]",
)  # fmt: skip
@click.option("--queues", metavar="A,B", help="Further queues to make consumers for.")
@data_dir_option
@nats_url_option
@json_option
def restore_stream(data_dir: str | None, as_json: bool, replace: bool, margin: int | None, **given: Any) -> int:
    """Tell a broker that lost its disk what it must know: open missions go on, those that are over stay so.

    Stop the whiteboard first, keep it stopped until this ends. The user needs the permissions of `missions setup`, and
    to publish restore.missions.> and chat.schedules.*. A run that broke off may be run again.

    \b
    Example:
      missions journal restore-stream --data-dir /var/lib/missions
    """
    from missions import restoring

    quiet_logs()
    _folder(data_dir)
    loaded = settings(data_dir=data_dir, **given)
    chosen = restoring.MARGIN if margin is None else margin
    restored = asyncio.run(restoring.restore(loaded, replace=replace, margin=chosen))
    if as_json:
        emit(restored)
        return 0
    talk(f"{restored.missions} missions, {restored.open} of them open, stand at {restored.first} to {restored.last}.")
    for mission_id in restored.lost:
        talk(f"{mission_id} cannot go on: retention removed its proposal.")
    if restored.damaged:
        talk(f"{restored.damaged} lines of the journal are damaged, and what they told is not restored.")
    talk("Start the whiteboard, then the other services.")
    return 0


def _folder(data_dir: str | None) -> Path:
    """Return the folder of the journal; raises `SetupError` where there is none."""
    from contracts.errors import SetupError

    folder = settings(data_dir=data_dir).data_dir / "journal"
    if not folder.is_dir():
        raise SetupError(f"there is no journal in {folder.parent}: name its directory with --data-dir")
    return folder
