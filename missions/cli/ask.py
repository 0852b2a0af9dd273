"""`missions say | list | show | watch | cancel`: what a person asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from contracts import ids
from contracts.lifecycle import TERMINAL, Core, Status
from missions.cli.connection import (
    broker_client,
    nats_url_option,
    token_file_option,
    whiteboard,
    whiteboard_url_option,
)
from missions.cli.output import emit, json_option, talk
from missions.cli.parameters import Moment, Seconds

if TYPE_CHECKING:
    from missions.whiteboard import Whiteboard

STATUSES = [status.value for status in Status]
CORES = [core.value for core in Core]


def _said(ctx: click.Context, param: click.Parameter, text: str) -> str:
    """Refuse a text that says nothing."""
    if not text.strip():
        raise click.BadParameter("it says nothing.", ctx, param)
    return text


@click.command()
@click.argument("text", callback=_said)
@click.option("-f", "--follow", is_flag=True, help="Show what becomes of it; exit 0 only when it completed.")
@click.option("--conversation", default="default", show_default=True, help="The chat thread it is said in.")
@click.option("--id", "event_id", default="", help="Its id: said again with the same one, it is the same mission.")
@click.option("--sender", default="", help="Who says it.")
@click.option("--queue", help="Where it shall run; else where its goals can.")
@click.option("--deadline", "deadline_s", type=Seconds(), metavar="SECONDS", help="Fail it after that.")
@click.option("--timeout", "seconds", type=Seconds(), metavar="SECONDS", help="Stop following, exit 75.")
@nats_url_option
@json_option
def say(nats_url: str | None, **given: Any) -> int:
    """Say TEXT in chat, as a bot would.

    Prints the mission id once the broker has the words on disk. With --follow, prints each record as it comes.

    \b
    Examples:
      missions say "/run echo text=hi" --follow
      missions say "/run sleep seconds=60" --deadline 10 --conversation ops
    """
    from missions.cli import following

    return asyncio.run(following.say(broker_client(nats_url), following.Saying(**given)))


@click.command("list")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="May be repeated.")
@click.option("--core", multiple=True, type=click.Choice(CORES), help="May be repeated.")
@click.option("--queue", multiple=True, help="May be repeated.")
@click.option("--conversation", multiple=True, help="May be repeated.")
@click.option("--kind", multiple=True, help="With a goal of this kind; may be repeated.")
@click.option("-q", "--search", "q", metavar="WORDS", help="With these words in title, text, result or error.")
@click.option("--since", type=Moment(), metavar="TIME", help="Proposed at or after 2026-01-31T14:03:00Z, or 2d ago.")
@click.option("--until", type=Moment(), metavar="TIME", help="Proposed before.")
@click.option("--as-of", type=Moment(), metavar="SEQ|TIME", help="As the board was after this sequence, or then.")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Go on where a page ended: its next_cursor.")
@whiteboard_url_option
@token_file_option
@json_option
def list_missions(as_json: bool, whiteboard_url: str | None, token_file: str | None, **filters: Any) -> None:
    """List missions, newest first.

    \b
    Examples:
      missions list --status failed --since 1h
      missions list --core active --queue gpu --json
    """
    page = asyncio.run(whiteboard(whiteboard_url, token_file).missions(filters))
    if as_json:
        emit(page)
        return
    if not page["items"]:
        talk('No such missions. Say something: missions say "/run echo text=hi" --follow')
        return
    from missions.cli.render import mission_table

    mission_table(page["items"])
    if page.get("next_cursor"):
        talk(f"There are more: --cursor {page['next_cursor']}")


@click.command()
@click.argument("mission_id", metavar="ID")
@click.option("--wait", "wait_s", type=Seconds(), metavar="SECONDS", help="Wait for the outcome, or exit 75.")
@click.option("--as-of", type=Moment(), metavar="SEQ|TIME", help="As it was after this sequence, or at this time.")
@whiteboard_url_option
@token_file_option
@json_option
def show(  # one option each
    mission_id: str,
    as_of: str | None,
    wait_s: float | None,
    whiteboard_url: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Show the mission whose id is ID, or begins with it.

    \b
    Examples:
      missions show 4kqz7m2a
      missions show 4kqz7m2a --wait 30 --json
    """
    from missions.cli.render import mission_page

    board = whiteboard(whiteboard_url, token_file)
    asked = board.mission(mission_id, as_of=as_of) if wait_s is None else _outcome(board, mission_id, wait_s)
    mission = asyncio.run(asked)
    if as_json:
        emit(mission)
    else:
        mission_page(mission)


async def _outcome(board: Whiteboard, mission_id: str, seconds: float) -> dict[str, Any]:
    whole = mission_id if ids.is_mission_id(mission_id) else (await board.mission(mission_id))["mission_id"]
    return await board.outcome(whole, seconds)


@click.command()
@click.argument("mission_id", metavar="[ID]", required=False)
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Without ID: after this sequence, not now.")
@click.option("--timeout", "seconds", type=Seconds(), metavar="SECONDS", help="Stop watching; with ID, exit 75.")
@whiteboard_url_option
@token_file_option
@json_option
def watch(mission_id: str | None, whiteboard_url: str | None, token_file: str | None, **given: Any) -> int:
    """Watch the mission ID to its end, or everything that happens until Ctrl-C.

    Exits 0 when the mission completed, 1 when it ended otherwise. --json prints one record per line.

    \b
    Examples:
      missions watch 4kqz7m2a
      missions watch --json | jq .data.status
    """
    from missions.cli import following

    return asyncio.run(following.watch(whiteboard(whiteboard_url, token_file), mission_id, **given))


@click.command()
@click.argument("mission_id", metavar="ID")
@click.option("--reason", default="", help="Why; kept with the mission.")
@nats_url_option
@whiteboard_url_option
@token_file_option
@json_option
def cancel(mission_id: str, reason: str, nats_url: str | None, as_json: bool, **board: str | None) -> int:
    """Ask for the mission ID to be cancelled.

    What nobody has started never starts. A handler that runs is asked to stop and has a grace
    (MISSIONS_CANCEL_GRACE_S); after that a process is killed, and a thread is left behind. The phase of the outcome
    tells: stopped, detached, or too_late when the mission finished first. Exits 1 when it is over already.

    \b
    Example:
      missions cancel 4kqz7m2a --reason "wrong customer"
    """
    found, status = asyncio.run(_cancel(mission_id, reason, nats_url, board))
    if as_json:
        emit({"mission_id": found, "asked": status is None, "status": status})
    elif status:
        talk(f"Mission {found} is already {status}")
    else:
        talk(f"Asked to cancel {found}. See what becomes of it: missions watch {found[:10]}")
    return 0 if status is None else 1


async def _cancel(
    mission_id: str, reason: str, nats_url: str | None, board: dict[str, str | None]
) -> tuple[str, str | None]:
    """Ask for the cancel; return the whole id and, if the mission is over already, its status."""
    if not ids.is_mission_id(mission_id):
        mission_id = (await whiteboard(**board).mission(mission_id))["mission_id"]
    async with broker_client(nats_url) as client:
        mission = await client.mission(mission_id)
        if mission["status"] in TERMINAL:
            return mission_id, mission["status"]
        await client.cancel(mission_id, reason)
    return mission_id, None
