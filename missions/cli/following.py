"""Watching missions: what `say --follow` and `watch` print."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from contracts import topology
from contracts.errors import MissionsError, WaitOver
from missions.cli.output import emit, program, talk
from missions.cli.render import record_line, record_lines

if TYPE_CHECKING:
    from missions.cli.silence import Silence
    from missions.client import Client
    from missions.records import Record
    from missions.whiteboard import Whiteboard

_COMPLETED = "completed"
#: What is only good to know is not waited for any longer.
_ASIDE_S = 1.0


@dataclass(frozen=True)
class Saying:
    """What `missions say` was told."""

    text: str
    follow: bool
    conversation: str
    event_id: str
    sender: str
    queue: str | None
    deadline_s: float | None
    seconds: float | None
    as_json: bool


@dataclass(frozen=True)
class Following:
    """Which mission is followed, for how long, and how it is printed."""

    mission_id: str
    seconds: float | None
    as_json: bool


async def say(client: Client, saying: Saying) -> int:
    """Say something and, if wanted, follow it; return the exit code."""
    async with client:
        mission_id = await client.say(
            saying.text,
            id=saying.event_id,
            conversation=saying.conversation,
            sender=saying.sender,
            queue=saying.queue,
            deadline_s=saying.deadline_s,
        )
        unserved = bool(saying.queue) and await _warn_unserved(client, str(saying.queue))
        if saying.follow:
            return await follow_new(client, Following(mission_id, saying.seconds, saying.as_json), unserved=unserved)
    if saying.as_json:
        emit({"mission_id": mission_id, "conversation": saying.conversation, "status": "accepted"})
    else:
        click.echo(mission_id)
        talk(f"Accepted. See what becomes of it: {program()} watch {mission_id[:10]}")
    return 0


async def _warn_unserved(client: Client, queue: str) -> bool:
    """Say it at once where no executor ever served the queue; return whether it was said."""
    from missions.cli.silence import nobody_serves
    from services.runtime.bus import ApiError
    from services.runtime.readers import look

    try:
        async with asyncio.timeout(_ASIDE_S):
            served = await look(await client.bus(), topology.MISSIONS, topology.executor_durable(queue))
    except (MissionsError, ApiError, TimeoutError):
        return False  # this NATS user may not ask
    if served is None:
        talk(f"{nobody_serves(queue)}; the mission waits for one")
    return served is None


async def follow_new(client: Client, following: Following, *, unserved: bool = False) -> int:
    """Print what becomes of a mission that was just asked for; return the exit code."""
    if not following.as_json:
        talk(f"mission {following.mission_id}")
    from missions.cli.silence import Silence

    silence = Silence(await client.bus(), unserved=unserved)
    try:
        code = await _follow(client.follow(following.mission_id), following, silence)
    finally:
        silence.end()
    if not following.as_json:
        await _say_where(client, following.mission_id)
    return code


async def _say_where(client: Client, mission_id: str) -> None:
    """Name the other way to look at it, where a whiteboard answers that knows it."""
    with suppress(MissionsError, TimeoutError):
        async with asyncio.timeout(_ASIDE_S):
            await client.whiteboard.outcome(mission_id, _ASIDE_S)
        talk(f"More: curl {client.whiteboard.url}/missions/{mission_id}")


async def watch(
    board: Whiteboard, mission_id: str | None, *, after: int | None, seconds: float | None, as_json: bool
) -> int:
    """Watch one mission to its end, or everything; return the exit code."""
    if mission_id is None:
        return await _watch_all(board, after, seconds, as_json=as_json)
    whole = (await board.mission(mission_id))["mission_id"]
    return await _follow(board.follow(whole), Following(whole, seconds, as_json))


async def _follow(source: AsyncGenerator[Record], following: Following, silence: Silence | None = None) -> int:
    """Print the records of a mission until the terminal one; return 0 only when it completed."""
    status = "not proposed"
    try:
        async with asyncio.timeout(following.seconds), aclosing(source) as records:
            async for record in records:
                status = record.status
                _print_whole(record, as_json=following.as_json)
                if silence:
                    silence.heard(record)
                if record.terminal:
                    return 0 if status == _COMPLETED else 1
    except TimeoutError as error:
        gone_on = f"mission {following.mission_id} is still {status} after {following.seconds:g} s; it goes on"
        raise WaitOver(gone_on) from error
    except asyncio.CancelledError:  # Ctrl-C: nothing else ends it from outside
        again = f"{program()} watch {following.mission_id}"
        talk(f"Mission {following.mission_id} goes on. See what becomes of it: {again}")
        raise
    return 1


async def _watch_all(board: Whiteboard, after: int | None, seconds: float | None, *, as_json: bool) -> int:
    if not as_json:
        talk("Watching everything; Ctrl-C ends it")
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(board.feed(after)) as records:
            async for record in records:
                _print(record, as_json=as_json, with_id=True)
    return 0


def _print_whole(record: Record, *, as_json: bool) -> None:
    """Print a record of the one mission that is followed: there is room for the whole text of its error."""
    if as_json:
        emit(record)
    else:
        click.echo("\n".join(record_lines(record)))


def _print(record: Record, *, as_json: bool, with_id: bool = False) -> None:
    if as_json:
        emit(record)
    else:
        click.echo(record_line(record, with_id=with_id))
