"""Reading what the broker holds: the records of one mission, or whole streams."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing, suppress

from contracts import subjects, topology
from contracts.errors import WaitOver, WhiteboardUnreachable
from contracts.lifecycle import TERMINAL
from missions.broker_feed import record_of
from missions.client import Client
from missions.records import Record
from services.runtime.bus import Bus, Unanswered
from services.runtime.incoming import Stored

_ASKED_AGAIN = 3
_READ_AT_ONCE = 200
_LOOK_S = 0.02


async def follow_until(
    client: Client, mission_id: str, statuses: Collection[str], seconds: float, *, at_most: int = 0
) -> list[Record]:
    """Follow a mission until it has one of these statuses, is over, or has `at_most` records; raises `WaitOver`."""
    __tracebackhide__ = True
    found: list[Record] = []
    try:
        async with asyncio.timeout(seconds), aclosing(client.follow(mission_id)) as records:
            async for record in records:
                found.append(record)
                if record.status in statuses or record.status in TERMINAL or len(found) == at_most:
                    break
    except TimeoutError:
        status = found[-1].status if found else "unknown"
        wanted = f"{at_most} records" if at_most else " or ".join(sorted(statuses))
        message = f"mission {mission_id} is {status} with {len(found)} records after {seconds:g} s, expected: {wanted}"
        raise WaitOver(message) from None  # where the feed was just then explains nothing
    return found


async def records_of(client: Client, mission_id: str) -> list[Record]:
    """Return the records of a mission that are stored, whether or not a whiteboard is there."""
    bus = await client.bus()
    found: list[Stored] = []
    for subject in (subjects.proposed("*", mission_id), subjects.status("*", mission_id)):
        found += await bus.records(topology.MISSIONS, subject)
    return [record_of(stored) for stored in sorted(found, key=lambda stored: stored.seq)]


async def journalled(client: Client, seconds: float) -> None:
    """Wait until the whiteboard has journalled all that the stream holds; raises `WaitOver`."""
    bus = await client.bus()
    seq, last = -1, 0
    try:
        async with asyncio.timeout(seconds):
            while seq != last:
                last = (await bus.stream_state(topology.MISSIONS)).last_seq
                with suppress(WhiteboardUnreachable):
                    seq = (await client.whiteboard.stats())["seq"]
                await asyncio.sleep(_LOOK_S if seq != last else 0)
    except TimeoutError as error:
        raise WaitOver(f"the journal ends at {seq} after {seconds:g} s, the stream at {last}") from error


async def whole_stream(bus: Bus, stream: str) -> list[Stored]:
    """Return every message of a stream, in its order."""
    state = await bus.stream_state(stream)
    end = state.last_seq + 1
    found: list[Stored | None] = []
    for first in range(state.first_seq, end, _READ_AT_ONCE):
        part = range(first, min(first + _READ_AT_ONCE, end))
        found += await asyncio.gather(*(_message(bus, stream, seq) for seq in part))
    return [stored for stored in found if stored is not None]


async def _message(bus: Bus, stream: str, seq: int) -> Stored | None:
    """Return the message at a sequence; a broker too busy to answer in time is asked again."""
    for _ in range(_ASKED_AGAIN):
        with suppress(Unanswered):
            return await bus.message(stream, seq)
    return await bus.message(stream, seq)
