"""Running a mission on an executor and looking at what it wrote."""

from __future__ import annotations

from typing import Any

from contracts import codec, subjects, topology
from contracts.lifecycle import Status, may_follow
from contracts.messages import Goal, StatusRecord, status_record
from tests.support.broker import Broker
from tests.support.eventually import eventually


def assert_legal(records: list[StatusRecord]) -> None:
    current: Status = Status.PROPOSED
    for record in records:
        assert may_follow(current, record.status), f"{record.status} after {current}"
        current = record.status
    assert all(record.reason for record in records if record.status != Status.ACTIVE)


async def run(broker: Broker, *goals: Goal, **fields: Any) -> list[StatusRecord]:
    mission_id = await broker.propose(*goals, **fields)
    await broker.outcome(mission_id)
    records = await broker.records(mission_id)
    assert_legal(records)
    return records


def shape(records: list[StatusRecord]) -> list[str]:
    return [f"{record.status}{'/' + record.phase if record.phase else ''}" for record in records]


async def idle(broker: Broker) -> bool:
    return await broker.unacknowledged("executor-default") == 0


async def ask_to_stop(broker: Broker, mission_id: str, reason: str = "user") -> None:
    """Ask for a cancel as the orchestrator does, without its signal."""
    subject = subjects.status("default", mission_id)
    head = await eventually(lambda: broker.bus.head(topology.MISSIONS, subject))
    record = status_record(
        event_id=f"{mission_id}.cancel",
        mission_id=mission_id,
        status=Status.ACTIVE,
        actor="orchestrator",
        attempt=1,
        phase="cancelling",
        reason=reason,
    )
    await broker.missions.write(subject, codec.encode(record), expected=head.seq)
