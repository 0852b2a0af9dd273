"""What the broker's refusals of a write mean: branch on `err_code`, never on a class or a text."""

from __future__ import annotations

from contracts.codec import event_id_of
from contracts.errors import ContractError, Lost, MaybeStored, StreamFull
from services.runtime.bus import ApiError
from services.runtime.incoming import Stored

#: Somebody wrote: read the head to learn whether it was us.
WRONG_LAST_SEQ = frozenset({10071, 10164})
STREAM_FULL = 10077
#: No leader, too few resources, or no code at all: ask again.
NOT_NOW = frozenset({10008, 10023, 10028, 10047, 0})
#: Wrong stream, too large, a TTL, roll-up or schedule that is not allowed: our bug, never a matter of time.
FOR_GOOD = frozenset({10060, 10054, 10166, 10111, 10188, 10189, 10190, 10223, 10052})


def lost(subject: str, head: Stored | None) -> Lost:
    """Say who wrote instead."""
    return Lost(subject, head_event_id=event_id_of(head.data) if head else "", head_seq=head.seq if head else 0)


def error_of(subject: str, refusal: ApiError) -> Exception:
    """Return our error for a refusal that no repetition of the write can change."""
    if refusal.err_code == STREAM_FULL:
        return StreamFull(f"the stream of {subject} is full: {refusal}")
    if refusal.err_code in FOR_GOOD:
        return ContractError(f"the broker refuses {subject}: {refusal}")
    return MaybeStored(f"{subject}: {refusal}")
