"""`missions answer | retry`: what a person says to a mission that asked, or failed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from contracts import ids
from contracts.errors import WaitOver
from contracts.lifecycle import TERMINAL, Status
from missions.cli.connection import (
    broker_client,
    nats_url_option,
    token_file_option,
    whiteboard,
    whiteboard_url_option,
)
from missions.cli.output import emit, json_option, program, talk
from missions.cli.parameters import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from missions.client import Client

#: Which whiteboard, and the token for it.
Board = dict[str, str | None]
#: How long an answer is looked for once it is said.
_TAKEN_S = 10.0


@dataclass(frozen=True)
class Answering:
    """What `missions answer` was told."""

    mission_id: str
    value: str
    goal: str
    sender: str
    wait_s: float | None
    as_json: bool


@click.command()
@click.argument("mission_id", metavar="ID")
@click.argument("value")
@click.option("--goal", default="", help="Whose question, where several goals ask.")
@click.option("--sender", default="", help="Who answers; kept with the answer.")
@click.option("--wait", "wait_s", type=Seconds(), metavar="SECONDS", help="Wait until it asks, or exit 75.")
@nats_url_option
@whiteboard_url_option
@token_file_option
@json_option
def answer(nats_url: str | None, whiteboard_url: str | None, token_file: str | None, **given: Any) -> int:
    """Answer the question of the mission ID with VALUE: JSON where it is JSON, else text.

    An answer that does not fit is asked for again. Exits 1 when the mission asks nothing.

    \b
    Examples:
      missions answer 4kqz7m2a yes
      missions answer 4kqz7m2a '{"amount": 3}' --goal order --wait 60
    """
    board = {"whiteboard_url": whiteboard_url, "token_file": token_file}
    return asyncio.run(_answer(Answering(**given), nats_url, board))


async def _answer(said: Answering, nats_url: str | None, board: Board) -> int:
    mission_id = await _whole(said.mission_id, board)
    async with broker_client(nats_url) as client:
        if said.wait_s is not None:
            await _until_asking(client, mission_id, said.wait_s)
        mission = await client.mission(mission_id)
        asking = _asking(mission, said)
        taken = False
        if asking is not None:
            await client.answer(mission_id, _value(said.value), goal=asking, sender=said.sender)
            taken = await _taken(client, mission_id, asking, mission["seq"])
    if said.as_json:
        emit({"mission_id": mission_id, "answered": asking, "taken": taken, "status": mission["status"]})
    elif asking is None:
        talk(f"Mission {mission_id} asks nothing: it is {mission['status']}")
    else:
        done = "Answered." if taken else "Said, and not taken up yet: is an orchestrator running?"
        talk(f"{done} See what becomes of it: {program()} watch {mission_id[:10]}")
    return 1 if asking is None else 0


async def _taken(client: Client, mission_id: str, goal_id: str, after: int) -> bool:
    """Wait a while for the record of an answer; the chat event is stored, so it comes, or the mission is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_TAKEN_S), aclosing(client.follow(mission_id)) as records:
            async for record in records:
                goal = (record.data.get("goal") or {}) if isinstance(record.data, dict) else {}
                if record.seq > after and goal.get("id") == goal_id and goal.get("answer"):
                    return True
    return False


async def _until_asking(client: Client, mission_id: str, seconds: float) -> None:
    """Wait for a record with a question, or for the end."""
    try:
        async with asyncio.timeout(seconds), aclosing(client.follow(mission_id)) as records:
            async for _ in records:
                if any(goal.get("question") for goal in (await client.mission(mission_id))["goals"]):
                    return
    except TimeoutError as error:
        raise WaitOver(f"mission {mission_id} has asked nothing for {seconds:g} s; it goes on") from error


def _asking(mission: Mapping[str, Any], said: Answering) -> str | None:
    """Return the goal whose question is answered; None where nothing is asked."""
    asked = {goal["id"]: goal["question"]["text"] for goal in mission["goals"] if goal.get("question")}
    if mission["status"] in TERMINAL or not asked:
        return None
    if said.goal in asked or (not said.goal and len(asked) == 1):
        return said.goal or next(iter(asked))
    listed = "\n".join(f"  --goal {goal_id}: {text}" for goal_id, text in asked.items())
    raise click.UsageError(f"Name the goal whose question you answer:\n{listed}")


def _value(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


@click.command()
@click.argument("mission_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Show what becomes of it; exit 0 only when it completed.")
@click.option("--sender", default="", help="Who says it.")
@click.option("--timeout", "seconds", type=Seconds(), metavar="SECONDS", help="Stop following, exit 75.")
@nats_url_option
@whiteboard_url_option
@token_file_option
@json_option
def retry(  # one option each
    mission_id: str, nats_url: str | None, whiteboard_url: str | None, token_file: str | None, **given: Any
) -> int:
    """Retry the mission ID: a new mission with its goals, that keeps what is finished.

    Prints the id of the new mission. Exits 1 when the old one completed, or has not ended.

    \b
    Examples:
      missions retry 4kqz7m2a --follow
    """
    board = {"whiteboard_url": whiteboard_url, "token_file": token_file}
    return asyncio.run(_retry(mission_id, nats_url, board, **given))


async def _retry(
    mission_id: str, nats_url: str | None, board: Board, *, follow: bool, sender: str, **shown: Any
) -> int:
    from missions.cli.following import Following, follow_new

    old = await _whole(mission_id, board)
    async with broker_client(nats_url) as client:
        mission = await client.mission(old)
        if not _may_retry(mission):
            _print(
                shown["as_json"], f"Mission {old} is {mission['status']}: only what failed is retried", None, mission
            )
            return 1
        new = await client.retry(old, sender=sender, conversation=mission["conversation"])
        if follow:
            return await follow_new(client, Following(new, **shown))
    _print(shown["as_json"], f"Accepted. See what becomes of it: {program()} watch {new[:10]}", new, mission)
    return 0


def _may_retry(mission: Mapping[str, Any]) -> bool:
    return mission["status"] in TERMINAL and mission["status"] != Status.COMPLETED


def _print(as_json: bool, text: str, new: str | None, old: Mapping[str, Any]) -> None:
    if as_json:
        emit({"mission_id": new, "retry_of": old["mission_id"], "status": old["status"]})
        return
    if new:
        click.echo(new)
    talk(text)


async def _whole(mission_id: str, board: Board) -> str:
    """Return the whole id of a mission, asking the whiteboard where only its start is given."""
    if ids.is_mission_id(mission_id):
        return mission_id
    found: str = (await whiteboard(**board).mission(mission_id))["mission_id"]
    return found
