"""Dead letters: what could not be understood, whole, with the reason in headers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from contracts import headers as names
from contracts import subjects, topology
from services.runtime.bus import Bus
from services.runtime.incoming import Stored, rfc3339

_MAX_REASON = 512


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a service could not understand: where it came from, why it is here, and all of it."""

    #: Its sequence among the dead letters; by this number it is asked for.
    seq: int
    at: str
    service: str
    reason: str
    subject: str
    stream: str
    #: Its sequence in the stream that it came from.
    stream_seq: int
    data: bytes


async def keep(bus: Bus, service: str, *, stream: str, seq: int, subject: str, data: bytes, reason: str) -> None:  # noqa: PLR0913
    """Store a message of a stream among a service's dead letters; raises `ApiError` or `Unanswered`."""
    headers = {
        names.DEADLETTER_REASON: " ".join(reason[:_MAX_REASON].split()),
        names.DEADLETTER_SUBJECT: subject,
        names.DEADLETTER_STREAM: stream,
        names.DEADLETTER_SEQ: str(seq),
    }
    await bus.publish_acked(subjects.deadletters(service), data, headers)


async def newest(bus: Bus, most: int) -> AsyncIterator[DeadLetter]:
    """Yield at most so many dead letters, the newest first; raises `ApiError` or `Unanswered`."""
    state = await bus.stream_state(topology.DEADLETTERS)
    for seq in range(state.last_seq, max(state.first_seq, 1) - 1, -1):  # an empty stream begins at 0
        if most == 0:
            return
        if letter := await find(bus, seq):
            yield letter
            most -= 1


async def find(bus: Bus, seq: int) -> DeadLetter | None:
    """Return the dead letter of a number, or None where there is none; raises `ApiError` or `Unanswered`."""
    stored = await bus.message(topology.DEADLETTERS, seq)
    return None if stored is None else _read(stored)


def _read(stored: Stored) -> DeadLetter:
    """Read what was kept; what somebody else put there may lack any header."""
    said = stored.headers
    seq = said.get(names.DEADLETTER_SEQ, "")
    return DeadLetter(
        seq=stored.seq,
        at=rfc3339(stored.time_ns),
        service=stored.subject.removeprefix(subjects.deadletters("")),
        reason=said.get(names.DEADLETTER_REASON, "?"),
        subject=said.get(names.DEADLETTER_SUBJECT, "?"),
        stream=said.get(names.DEADLETTER_STREAM, "?"),
        stream_seq=int(seq) if seq.isdecimal() else 0,
        data=stored.data,
    )
