"""A queue that is one test's, or one stack's, own: what it leaves on the broker is taken away again."""

from __future__ import annotations

import uuid
from contextlib import suppress

from contracts import topology
from services.runtime.bus import ApiError, Bus


def new_token() -> str:
    """Return a name for a queue or a conversation that nobody else has."""
    return f"t-{uuid.uuid4().hex[:12]}"


async def forget_queue(bus: Bus, queue: str) -> None:
    """Take a queue's consumer off the broker, and the goal kinds that were announced on it; records stay."""
    with suppress(ApiError):  # nobody served it
        await bus.api(f"CONSUMER.DELETE.{topology.MISSIONS}.{topology.executor_durable(queue)}")
    with suppress(ApiError):
        await bus.api(f"STREAM.PURGE.{topology.KINDS}", {"filter": f"kinds.{queue}.>"})
