"""What a failed test needs to see: the mission's records, where the consumers stand, and what every part logged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from contracts import subjects, topology
from contracts.errors import MissionsError
from missions.records import Record
from missions.testing import log_lines
from missions.testing.backend import Backend
from services.runtime.bus import ApiError, Bus

_LOG_WIDTH = 400
_HEADING = "-- missions: "


def has_notes(error: BaseException) -> bool:
    """Whether an exception carries them already: one that passes through two hands is not told the same twice."""
    return any(note.startswith(_HEADING) for note in getattr(error, "__notes__", ()))


def add_notes(error: BaseException, *sections: str) -> None:
    """Let the exception carry them, once."""
    if not has_notes(error):
        for section in sections:
            error.add_note(section)


def of_records(mission_id: str, records: list[Record]) -> str:
    """Return a mission's records, one line each."""
    lines = [_line(record) for record in records] or ["no record: it was never proposed"]
    return _section(f"records of mission {mission_id}", lines)


def of_why(mission_id: str, why: Mapping[str, Any]) -> str:
    """Return why a mission is where it is, as the whiteboard says it."""
    return _section(f"why mission {mission_id} is {why['status']}", [why["summary"], *why["details"]])


def of_logs(backend: Backend) -> list[str]:
    """Return the end of every part's log, and the trouble that it told of before."""
    return [_section(f"log of {name}", log_lines.telling(backend.log(name))) for name in backend.names]


async def of_consumers(bus: Bus, queue: str) -> str:
    """Return where the consumers stand that a mission passes through."""
    durables = [(spec.stream, spec.name) for spec in topology.consumers((queue,))]
    return _section("consumers", await asyncio.gather(*(_consumer(bus, *durable) for durable in durables)))


async def _consumer(bus: Bus, stream: str, durable: str) -> str:
    try:
        info = await bus.api(f"CONSUMER.INFO.{stream}.{durable}")
    except (MissionsError, ApiError) as error:
        return f"{stream}/{durable}: {error}"
    counts = {name.removeprefix("num_"): info.get(name, 0) for name in _COUNTS}
    return f"{stream}/{durable}: " + ", ".join(f"{name} {count}" for name, count in counts.items())


#: Not delivered yet, delivered and not acknowledged, delivered again, open pull requests.
_COUNTS = ("num_pending", "num_ack_pending", "num_redelivered", "num_waiting")


def _line(record: Record) -> str:
    said: Mapping[str, Any] = record.data if isinstance(record.data, dict) else {}
    if subjects.is_proposal(record.subject):
        kinds = ", ".join(str(goal.get("kind")) for goal in said.get("goals", ()))
        return f"{record.seq:>6}  proposed  on {subjects.parse_record(record.subject).queue}: {kinds}"
    words = [f"attempt {said.get('attempt')}", said.get("phase"), said.get("reason"), f"by {said.get('actor')}"]
    goal = said.get("goal") or {}
    words += [f"goal {goal['id']} {goal.get('status')}"] if goal else []
    words += [_json(said["error"])] if said.get("error") else []
    return f"{record.seq:>6}  {record.status:<9} {', '.join(str(word) for word in words if word)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:_LOG_WIDTH]


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"{_HEADING}{title}", *(f"   {line}" for line in lines)])
