"""Dead letters: what could not be understood, whole, with the reason in headers."""

from __future__ import annotations

from contracts import headers as names
from contracts import subjects
from services.runtime.bus import Bus

_MAX_REASON = 512


async def keep(bus: Bus, service: str, *, stream: str, seq: int, subject: str, data: bytes, reason: str) -> None:  # noqa: PLR0913
    """Store a message of a stream among a service's dead letters; raises `ApiError` or `Unanswered`."""
    headers = {
        names.DEADLETTER_REASON: " ".join(reason[:_MAX_REASON].split()),
        names.DEADLETTER_SUBJECT: subject,
        names.DEADLETTER_STREAM: stream,
        names.DEADLETTER_SEQ: str(seq),
    }
    await bus.publish_acked(subjects.deadletters(service), data, headers)
