"""The checks of `missions doctor` on what waits: dead letters, consumers, queues that nobody serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from contracts import headers, subjects, topology
from contracts.errors import MissionsError
from missions.cli.checks import Check
from missions.whiteboard import Whiteboard
from services.runtime.bus import ApiError
from services.runtime.readers import Reader, look
from services.runtime.settings import token_of

if TYPE_CHECKING:
    from services.runtime.bus import Bus
    from services.runtime.settings import Settings

_LAG_WARN = 1_000
_EXECUTORS = topology.executor_durable("")
#: One page of the whiteboard: that many waiting missions tell which queues they wait on.
_MOST = 500


def lag(reader: Reader) -> Check:
    """Judge a consumer: whether somebody reads, and how far behind."""
    name = f"{reader.stream}/{reader.durable}"
    service, _, queue = reader.durable.partition("-")
    detail = f"{reader.pending} to read, {reader.owned} under way"
    if not reader.alive:
        options = f" --queues {queue}" if queue else ""
        return Check(name, "fail", f"nobody reads; {detail}", f"missions {service}{options}, or: missions up")
    return Check(name, "warn" if reader.pending > _LAG_WARN else "ok", detail)


async def waiting_checks(bus: Bus, settings: Settings) -> AsyncIterator[Check]:
    """Look for what waits where the settings do not say that anybody should look."""
    try:
        yield await dead_letters(bus)
        served = await _served(bus)
    except ApiError:
        return  # a stream is missing: another check says so
    for queue in sorted(served - set(settings.queues)):
        reader = await look(bus, topology.MISSIONS, topology.executor_durable(queue))
        if reader and reader.pending and not reader.alive:
            yield lag(reader)
    for queue, count in sorted((await _waiting(settings)).items()):
        if queue not in served:
            hint = f"missions executor --queues {queue}, or cancel them"
            yield Check(f"queue {queue}", "fail", f"no executor ever served it; {count} missions wait there", hint)


async def dead_letters(bus: Bus) -> Check:
    """Count what could not be understood, and say why the last one was not."""
    count = (await bus.stream_state(topology.DEADLETTERS)).messages
    last = await bus.head(topology.DEADLETTERS, subjects.DEADLETTERS_ALL) if count else None
    if last is None:
        return Check("dead letters", "ok", "none")
    reason, source = (last.headers.get(name, "?") for name in (headers.DEADLETTER_REASON, headers.DEADLETTER_SUBJECT))
    detail = f"{count}; the last, from {source}, on {last.subject}: {reason}"
    return Check("dead letters", "warn", detail, "look at them: missions deadletters")


async def _served(bus: Bus) -> set[str]:
    """Return the queues that have, or had, executors."""
    found: set[str] = set()
    seen, total = 0, 1
    while seen < total:
        page = await bus.api(f"CONSUMER.NAMES.{topology.MISSIONS}", {"offset": seen})
        names = page.get("consumers") or []
        found |= {name.removeprefix(_EXECUTORS) for name in names if name.startswith(_EXECUTORS)}
        seen, total = seen + max(1, len(names)), page["total"]
    return found


async def _waiting(settings: Settings) -> Counter[str]:
    """Return how many missions wait on each queue; nothing where the whiteboard does not tell."""
    try:
        page = await Whiteboard(settings.whiteboard_url, token_of(settings)).missions(
            {"core": "proposed", "limit": _MOST}
        )
    except MissionsError:
        return Counter()
    return Counter(mission["queue"] for mission in page["items"])
