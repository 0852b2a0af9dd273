"""Records of missions as the stream would hold them, without a broker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contracts import codec, ids, subjects
from contracts.lifecycle import Status
from contracts.messages import Goal, Mission, now, status_record
from services.whiteboard.disk import Disk
from services.whiteboard.record import Note

ECHO = Goal(id="g1", kind="echo", params={"text": "hi"})


def mission_id(number: int) -> str:
    """Return the id of the n-th mission of a test."""
    return ids.mission_id("test", str(number))


def proposal(number: int = 1, *goals: Goal, **fields: Any) -> tuple[str, bytes]:
    """Return subject and body of a proposal."""
    name = mission_id(number)
    mission = Mission(mission_id=name, goals=goals or (ECHO,), event_id=f"{name}.0.1", at=now(), **fields)
    return subjects.proposed(mission.queue, name), codec.encode(mission)


def change(number: int, status: Status, queue: str = "default", **fields: Any) -> tuple[str, bytes]:
    """Return subject and body of a status record."""
    name = mission_id(number)
    fields = dict[str, Any](event_id=f"{name}.1.{status}", actor="test", attempt=1) | fields
    return subjects.status(queue, name), codec.encode(status_record(mission_id=name, status=status, **fields))


def whole(number: int = 1, **fields: Any) -> list[tuple[str, bytes]]:
    """Return the three records of a mission that simply completes."""
    return [
        proposal(number, **fields),
        change(number, Status.ACTIVE, fields.get("queue", "default")),
        change(number, Status.COMPLETED, fields.get("queue", "default"), result={"text": "hi"}),
    ]


def stream(messages: Iterable[tuple[str, bytes]], first: int = 1, day: int = 1) -> list[Note]:
    """Number messages as the broker would."""
    return [
        Note(seq, f"2026-01-{day:02d}T00:{seq // 60 % 60:02d}:{seq % 60:02d}.000000000Z", subject, data)
        for seq, (subject, data) in enumerate(messages, first)
    ]


class UnsyncedDisk(Disk):
    """Saves the time that syncing takes, where a test makes hundreds of journals."""

    def fdatasync(self, descriptor: int) -> None:
        pass

    def fsync_dir(self, folder: Path) -> None:
        pass
