"""Work items that a test hands to an executor itself, as the broker would deliver them."""

from __future__ import annotations

from typing import Any

from contracts import subjects, topology
from contracts.messages import Goal
from services.runtime.incoming import Incoming
from tests.support.broker import Broker


class Delivery(Incoming):
    """A work item, delivered for the n-th time."""

    def __init__(self, data: bytes, seq: int, deliveries: int = 1) -> None:
        super().__init__("", data, f"$JS.ACK.MISSIONS.executor-default.{deliveries}.{seq}.1.1.0", {})


async def work_item(broker: Broker, *goals: Goal, **fields: Any) -> Incoming:
    """Propose a mission and return its work item."""
    mission_id = await broker.propose(*goals, **fields)
    stored = await broker.bus.head(topology.MISSIONS, subjects.proposed("default", mission_id))
    assert stored is not None
    return Delivery(stored.data, stored.seq)
