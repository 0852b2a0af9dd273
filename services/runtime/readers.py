"""Whether anybody reads: what the broker knows of a durable consumer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.runtime.bus import ApiError, Bus

#: Between two requests of a busy reader.
_BREATH_S = 2.0
#: A reader whose slots are all taken asks for nothing.
_BUSY_S = 20.0
_NOT_FOUND = 404


@dataclass(frozen=True)
class Reader:
    """A durable consumer as it stands. Lag: messages nobody has dealt with yet."""

    stream: str
    durable: str
    waiting: int
    pending: int
    owned: int
    silent_s: float | None
    redelivered: int = 0
    lease_s: float | None = None
    done_to: int = 0  #: up to this sequence of the stream nothing will be given out any more

    @property
    def alive(self) -> bool:
        """Whether somebody asks for messages now, or got one just now."""
        if self.waiting or self.silent_s is None:
            return self.waiting > 0
        return self.silent_s < (_BUSY_S if self.owned else _BREATH_S)

    @property
    def lag(self) -> int:
        """How many messages are not dealt with."""
        return self.pending + self.owned


async def look(bus: Bus, stream: str, durable: str) -> Reader | None:
    """Return a consumer, or None where there is no such one; raises `MaybeStored` when the broker says nothing."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{stream}.{durable}")
    except ApiError as error:
        if error.code == _NOT_FOUND:
            return None
        raise
    return Reader(
        stream=stream,
        durable=durable,
        waiting=info["num_waiting"],
        pending=info["num_pending"],
        owned=info["num_ack_pending"],
        silent_s=_silence(info),
        redelivered=info.get("num_redelivered", 0),
        lease_s=info["config"].get("ack_wait", 0) / 1e9 or None,
        done_to=done_to(info),
    )


def done_to(info: dict[str, Any]) -> int:
    """Return how far all is acknowledged or given up: the floor stays behind what was delivered too often."""
    return int(info["ack_floor" if info["num_ack_pending"] else "delivered"]["stream_seq"])


def _silence(info: dict[str, Any]) -> float | None:
    """Return the seconds since the last delivery, by the broker's own clock; None if there never was one."""
    last = info["delivered"].get("last_active")
    if not last:
        return None
    return (datetime.fromisoformat(info["ts"]) - datetime.fromisoformat(last)).total_seconds()
