"""The topology on the broker: create what is missing, show what differs, refuse what cannot keep the promise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import structlog
from msgspec import Struct

from contracts import topology
from contracts.errors import BrokerUnfit, TopologyError
from contracts.topology import ConsumerSpec, StreamSpec
from services.runtime.bus import ApiError, Bus, Unanswered

log = structlog.get_logger()

#: What an operator may size to taste; everything else is part of the promise.
TUNABLE = frozenset({"max_bytes", "max_age", "duplicate_window", "ack_wait", "max_ack_pending", "metadata"})
_NOT_FOUND = 404
_OVERLAP = 10065
_NO_ROOM = 10047
_READY_WITHIN_S = 10.0
_MAKE_TRIES = 6


class Difference(Struct, frozen=True):
    """One field of a stream or consumer that is not as declared; `found` is None where all of it is missing."""

    where: str
    field: str
    found: Any
    needed: Any

    def __str__(self) -> str:
        """Say it in one line."""
        if self.field == "":
            return f"{self.where} is missing"
        return f"{self.where}: {self.field} is {self.found!r}, needed {self.needed!r}"


async def apply(bus: Bus, queues: tuple[str, ...], lease_s: float, *, manage: bool) -> list[Difference]:
    """Create what is missing (if `manage`), and raise `TopologyError` for what then still differs.

    Idempotent, and safe to run from several services at once. Returns what was created.
    """
    await wait_for_jetstream(bus)
    found = await compare(bus, queues, lease_s)
    missing = [difference for difference in found if not difference.field]
    if manage and missing:
        await create(bus, queues, lease_s)
        found = await compare(bus, queues, lease_s)
    if found:
        raise TopologyError(f"{'; '.join(str(difference) for difference in found[:5])}. Run: missions setup")
    return missing


async def wait_for_jetstream(bus: Bus) -> None:
    """Wait for JetStream to answer; raises `BrokerUnfit` where it is off."""
    reason = ""
    for _ in range(int(_READY_WITHIN_S / 0.5)):
        try:
            await bus.api("INFO")
        except (Unanswered, ApiError) as error:
            reason = str(error)
            await asyncio.sleep(0.5)
        else:
            return
    raise BrokerUnfit(f"JetStream is off at {bus.address.shown}: start the server with -js ({reason})")


async def compare(bus: Bus, queues: tuple[str, ...], lease_s: float) -> list[Difference]:
    """Return what is missing or differs from the declaration, without changing anything."""
    differences: list[Difference] = []
    for stream in topology.STREAMS:
        config = await _config(bus, f"STREAM.INFO.{stream.name}")
        differences += _differences(f"stream {stream.name}", config, stream.config)
    for spec in topology.consumers(queues, lease_s):
        config = await _config(bus, f"CONSUMER.INFO.{spec.stream}.{spec.name}")
        differences += _differences(f"consumer {spec.name} on {spec.stream}", config, spec.config)
    return differences


async def create(bus: Bus, queues: tuple[str, ...], lease_s: float) -> None:
    """Create every stream and consumer that is missing."""
    for stream in topology.STREAMS:
        await _created(bus, f"STREAM.INFO.{stream.name}", partial(_create_stream, bus, stream))
    for spec in topology.consumers(queues, lease_s):
        await _created(bus, f"CONSUMER.INFO.{spec.stream}.{spec.name}", partial(_create_consumer, bus, spec))


async def _created(bus: Bus, info: str, make: Callable[[], Awaitable[None]]) -> None:
    """Make what is missing. Services that start together get in each other's way: who fails looks again."""
    for tries in range(1, _MAKE_TRIES + 1):
        if await _config(bus, info) is not None:
            return
        try:
            await make()
        except TopologyError:
            if tries == _MAKE_TRIES:
                raise
            await asyncio.sleep(random.uniform(0.02, 0.2) * tries)  # noqa: S311 - so that they part
        else:
            return


async def update(bus: Bus, queues: tuple[str, ...], lease_s: float) -> None:
    """Bring what differs to the declaration; what the broker cannot change is a `TopologyError`."""
    for difference in await compare(bus, queues, lease_s):
        log.info("topology_updated", difference=str(difference))
    for stream in topology.STREAMS:
        current = await _config(bus, f"STREAM.INFO.{stream.name}") or {}
        kept = {name: value for name, value in current.items() if name in TUNABLE}
        await _call(bus, f"STREAM.UPDATE.{stream.name}", {**current, **stream.config, **kept}, f"stream {stream.name}")
    for spec in topology.consumers(queues, lease_s):
        await _create_consumer(bus, spec, action="")


async def lease_of(bus: Bus, queue: str) -> float:
    """Return the lease in force for a queue, in seconds: the `ack_wait` of its consumer."""
    durable = topology.executor_durable(queue)
    config = await _config(bus, f"CONSUMER.INFO.{topology.MISSIONS}.{durable}")
    if config is None:
        raise TopologyError(f"No consumer {durable} on {topology.MISSIONS}. Run: missions setup")
    return float(config["ack_wait"]) / 1e9


async def _config(bus: Bus, subject: str) -> dict[str, Any] | None:
    try:
        info = await bus.api(subject)
    except ApiError as error:
        if error.code == _NOT_FOUND:
            return None
        raise TopologyError(f"cannot look at {subject}: {error}") from error
    config: dict[str, Any] = info["config"]
    return config


def _differences(where: str, found: Mapping[str, Any] | None, needed: Mapping[str, Any]) -> list[Difference]:
    if found is None:
        return [Difference(where, "", None, None)]
    return [
        Difference(where, field, found.get(field), value)
        for field, value in needed.items()
        if field not in TUNABLE and found.get(field) != value
    ]


async def _create_stream(bus: Bus, stream: StreamSpec) -> None:
    await _call(bus, f"STREAM.CREATE.{stream.name}", stream.config, f"stream {stream.name}")
    log.info("stream_created", stream=stream.name)


async def _create_consumer(bus: Bus, spec: ConsumerSpec, action: str = "create") -> None:
    body = {"stream_name": spec.stream, "config": spec.config, "action": action}
    where = f"consumer {spec.name} on {spec.stream}"
    await _call(bus, f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, where)
    log.info("consumer_created", stream=spec.stream, durable=spec.name)


async def _call(bus: Bus, subject: str, body: Any, where: str) -> None:
    try:
        await bus.api(subject, body)
    except ApiError as error:
        hint = {
            _OVERLAP: "another stream has these subjects: give Missions a NATS account of its own",
            _NO_ROOM: "the broker has too little storage: raise max_file_store",
        }.get(error.err_code, "compare with: missions setup --check")
        raise TopologyError(f"cannot make {where}: {error}; {hint}") from error
