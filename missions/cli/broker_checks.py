"""The checks of `missions doctor` on the broker, from the connection up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from contracts import subjects, topology
from contracts.errors import MaybeStored, MissionsError
from missions.cli.checks import Check
from missions.cli.waiting_checks import lag, waiting_checks
from missions.web import Web
from services.runtime import streams
from services.runtime.bus import ApiError
from services.runtime.readers import look

if TYPE_CHECKING:
    from services.runtime.bus import Bus
    from services.runtime.settings import Settings

_SKEW_WARN_S = 1.0
_MIB = 1024 * 1024
_MONITOR = "missions up prints its own; elsewhere http://127.0.0.1:8222 after nats-server -m 8222"


async def broker_checks(bus: Bus, settings: Settings, monitor_url: str | None) -> AsyncIterator[Check]:
    """Look at the broker, from the connection up."""
    yield Check("connection", "ok", f"{bus.address.shown} (from {bus.address.source}), {await bus.rtt() * 1000:.1f} ms")
    version = bus.nats.connected_server_version
    yield Check("server", "ok", f"nats-server {version.major}.{version.minor}.{version.patch}")
    try:
        account = await bus.api("INFO")
    except MissionsError:
        yield Check("jetstream", "fail", "JetStream is off", "start the server with -js")
        return
    yield _jetstream(account)
    yield await sync_always(monitor_url)
    async for check in _topology_checks(bus, settings):
        yield check
    async for check in waiting_checks(bus, settings):
        yield check
    yield await _door(bus)
    yield await _clock(bus)


def _jetstream(account: Mapping[str, Any]) -> Check:
    used, limit = account["storage"], account["limits"]["max_storage"]
    most = f" of {limit // _MIB} MiB" if limit > 0 else ""
    return Check("jetstream", "ok", f"on: {account['streams']} streams, {used // _MIB} MiB{most} on disk")


async def sync_always(monitor_url: str | None) -> Check:
    """Read from the monitor port whether an acknowledged write is on disk."""
    if monitor_url is None:
        return Check("sync_always", "warn", "unverified", f"name the monitor port: --monitor-url URL ({_MONITOR})")
    try:
        answer = await Web(monitor_url).get("/varz", seconds=3)
    except MissionsError:
        unreachable = f"unverified: no monitor of nats-server is reachable at {monitor_url}"
        return Check("sync_always", "warn", unreachable, f"name the right URL: {_MONITOR}")
    try:
        config = msgspec.json.decode(answer.body)["jetstream"]["config"]
    except (msgspec.DecodeError, KeyError, TypeError):
        wrong = f"unverified: what answers at {monitor_url} is no monitor of a nats-server with JetStream"
        return Check("sync_always", "warn", wrong, f"name the right URL: {_MONITOR}")
    if config.get("sync_always"):
        return Check("sync_always", "ok", "an acknowledged write is on disk")
    hint = "set in nats.conf: jetstream { sync_interval: always }"
    return Check("sync_always", "warn", 'sync_interval is not "always": acknowledged writes can be lost', hint)


async def _topology_checks(bus: Bus, settings: Settings) -> AsyncIterator[Check]:
    differences = await streams.compare(bus, settings.queues, settings.lease_s)
    for difference in differences:
        command = "missions setup --update" if difference.field else "missions setup"
        yield Check("topology", "fail", str(difference), command)
    if not differences:
        yield Check("topology", "ok", f"{len(topology.STREAMS)} streams and their consumers are as declared")
    for spec in topology.consumers(settings.queues, settings.lease_s):
        if reader := await look(bus, spec.stream, spec.name):
            yield lag(reader)


async def _door(bus: Bus) -> Check:
    """Publish a chat event that the broker must refuse, to see that it may be published at all; stores nothing."""
    impossible = {"Nats-Expected-Last-Sequence": str(2**63)}
    try:
        await bus.publish_acked(subjects.chat_events("doctor"), b"{}", impossible)
    except ApiError:
        return Check("door", "ok", f"may publish {subjects.CHAT_EVENTS_ALL}")
    except MaybeStored as error:
        return Check("door", "fail", str(error), f"allow the NATS user to publish {subjects.CHAT_EVENTS_ALL}")
    return Check("door", "fail", "the broker stored what it had to refuse", "upgrade nats-server")


async def _clock(bus: Bus) -> Check:
    """Compare the clocks, as well as half a round trip allows."""
    before = time.time()
    try:
        there = datetime.fromisoformat((await bus.api(f"STREAM.INFO.{topology.MISSIONS}"))["ts"]).timestamp()
    except (ApiError, MissionsError, KeyError) as error:
        return Check("clock", "warn", f"unverified: {error}")
    after = time.time()
    skew = there - (before + after) / 2
    if abs(skew) > _SKEW_WARN_S + (after - before) / 2:
        return Check("clock", "warn", f"the broker's clock is {skew:+.1f} s from this one", "run an NTP client on both")
    return Check("clock", "ok", f"within {max(abs(skew), 0.001):.3f} s of the broker's")
