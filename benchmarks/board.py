"""A large board, made offline: the journal of many missions, as a whiteboard would have left it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from contracts import ids
from services.runtime.incoming import rfc3339
from services.whiteboard.disk import Disk
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note

_BATCH = 2_000
BEGAN_NS = 1_767_225_600_000_000_000  #: 2026-01-01
QUEUES = (["default"] * 80) + (["gpu"] * 15) + (["browser"] * 5)
KINDS = (["echo"] * 60) + (["report.build"] * 20) + (["mail.send"] * 15) + (["http.get"] * 5)
ENDS = (["completed"] * 90) + (["failed"] * 6) + (["cancelled"] * 3) + ["rejected"]
CONVERSATIONS = 2_000
WORDS = [f"word{number}" for number in range(5_000)]
#: How far apart the records of one mission are, in missions, and how many are never started.
START_AFTER, END_AFTER, BACKLOG = 20, 60, 100

_PROPOSAL = (
    '{"mission_id":"%s","goals":[{"id":"g1","kind":"%s","params":{"text":"%s"}}],"event_id":"%s.0.1",'
    '"at":"2026-01-01T00:00:00Z","title":"%s","queue":"%s","conversation":"room%d","requested_by":"ann",'
    '"deadline":null,"causation_id":"msg-%d","retry_of":"","on_failure":"fail","max_parallel":0,"after":"","schema":1}'
)
_STATUS = (
    '{"event_id":"%s.1.%d","mission_id":"%s","status":"%s","core":"%s","at":"2026-01-01T00:00:00Z",'
    '"actor":"executor/vm/1/abc","phase":"","reason":"%s","attempt":1,"goal":null,"result":%s,"error":%s,'
    '"causation_id":"msg-%d","schema":1}'
)


class Unsynced(Disk):
    """A board that is made for a measurement need not outlive a power cut."""

    def fdatasync(self, descriptor: int) -> None:
        pass


def write(folder: Path, missions: int) -> None:
    """Write the journal of so many missions; its index is rebuilt from it."""
    waiting = notes(missions)
    with closing(Journal.open(folder / "journal", Unsynced())) as journal:
        while batch := list(islice(waiting, _BATCH)):
            journal.append(batch)


def notes(missions: int) -> Iterator[Note]:
    """Yield the messages as the stream would number and date them."""
    for seq, message in enumerate(messages(missions), 1):
        yield Note(seq, rfc3339(BEGAN_NS + seq * 1_000_000), *message)


def messages(missions: int) -> Iterator[tuple[str, bytes]]:
    """Yield subjects and bodies: missions under way side by side, and some that nobody ever starts."""
    for number in range(missions + END_AFTER):
        if number < missions:
            yield _proposal(number)
        if 0 <= number - START_AFTER < missions and not _waits(number - START_AFTER):
            yield _status(number - START_AFTER, 1, "active", "active")
        ended = number - END_AFTER
        if 0 <= ended < missions and not _waits(ended):
            status = ENDS[ended * 7 % len(ENDS)]
            yield _status(ended, 2, status, "completed" if status == "completed" else "failed")


def mission_id(number: int) -> str:
    """Return the id of the n-th mission."""
    return ids.mission_id("bench", str(number))


def _waits(number: int) -> bool:
    return number % BACKLOG == BACKLOG - 1


def _proposal(number: int) -> tuple[str, bytes]:
    choose = random.Random(number)  # noqa: S311 - the same board every time
    name, queue = mission_id(number), _queue(number)
    text, title = " ".join(choose.choices(WORDS, k=5)), f"order {number} {choose.choice(WORDS)}"
    room = int(choose.expovariate(1 / 200)) % CONVERSATIONS
    body = _PROPOSAL % (name, choose.choice(KINDS), text, name, title, queue, room, number)
    return f"missions.proposed.{queue}.{name}", body.encode()


def _queue(number: int) -> str:
    return QUEUES[number * 13 % len(QUEUES)]


def _status(number: int, step: int, status: str, core: str) -> tuple[str, bytes]:
    name = mission_id(number)
    result = f'"{WORDS[number * 31 % len(WORDS)]}"' if status == "completed" else "null"
    error = '{"type":"Boom","message":"disk is full"}' if status == "failed" else "null"
    reason = {"active": "", "completed": "ok", "failed": "handler_error"}.get(status, "user")
    body = _STATUS % (name, step, name, status, core, reason, result, error, number)
    return f"missions.status.{_queue(number)}.{name}", body.encode()
