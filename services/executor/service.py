"""The executor: wires work items to attempts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from contracts import subjects, topology
from contracts.errors import SetupError
from services.executor import announcing, attempt, loading
from services.executor.executor import Executor
from services.executor.outside import kind_settings
from services.executor.registry import Registry
from services.executor.watchdog import Watchdog
from services.runtime import streams
from services.runtime.bus import Bus
from services.runtime.consumer import Consumer
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.http_server import serve_http
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop, run_parts
from services.runtime.settings import Settings

DEFAULT_PORT = 8082
_SERVICE = "executor"
#: What an attempt gets, after the grace of its handlers, to hand its mission back.
_RELEASE_S = 1.0


async def serve(
    settings: Settings,
    stop: Stop,
    registry: Registry | None = None,
    *,
    http: bool = True,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Run an executor until `stop`; raises `MissionsError` when it cannot start. `on_ready`: once it consumes."""
    registry = registry or loading.load_registry(settings.goals)
    kind_settings.check(settings)
    metrics, health = Metrics(_SERVICE), Health(on_ready)
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(settings, _SERVICE)
        stack.push_async_callback(bus.close)
        await streams.apply(bus, settings.queues, settings.lease_s, manage=settings.manage_streams)
        health.expect(announcing.PART)
        executor = Executor(bus, registry, settings, metrics, await _lease(bus, settings))
        stack.callback(executor.close)
        await executor.processes.start()
        parts = [
            bus.watch(stop),
            executor.leases.keep(stop),
            executor.leases.tell_progress(stop),
            Watchdog(executor, health, metrics).run(stop),
            announcing.announce(bus, registry, settings, health, stop),
        ]
        parts += [_consume(queue, executor, health, metrics, stop) for queue in settings.queues]
        if http:
            parts.append(serve_http(create_app([], health, metrics, settings), settings, DEFAULT_PORT, stop))
        await run_parts(stop, _release(executor, stop), *parts)


async def _lease(bus: Bus, settings: Settings) -> float:
    """Return the lease in force; several queues with several leases would need several executors."""
    leases = {await streams.lease_of(bus, queue) for queue in settings.queues}
    if len(leases) > 1:
        raise SetupError(
            f"the queues {', '.join(settings.queues)} have different leases: serve them by executors of their own"
        )
    return leases.pop()


async def _consume(queue: str, executor: Executor, health: Health, metrics: Metrics, stop: Stop) -> None:
    """Pull the work items of one queue, as many as can start, and listen for its signals."""
    settings = executor.settings
    consumer = Consumer(
        executor.bus,
        topology.MISSIONS,
        topology.executor_durable(queue),
        service=_SERVICE,
        slots=max(1, settings.concurrency // len(settings.queues)),
        metrics=metrics,
        health=health,
    )
    signals = await executor.bus.subscribe(subjects.signals(queue), partial(_on_signal, executor=executor))
    await consumer.run(partial(attempt.run_mission, executor=executor), stop, settings.stop_grace_s + _RELEASE_S)
    await signals.unsubscribe()


async def _on_signal(signal: Incoming, executor: Executor) -> None:
    """Look at the mission that a signal names, if it is ours; the signal itself proves nothing."""
    owned = executor.leases.get(signal.data.decode(errors="replace"))
    if owned is not None:
        await executor.leases.look(owned)


async def _release(executor: Executor, stop: Stop) -> None:
    """On `stop`, give handlers their grace, then hand back what still runs."""
    await stop.wait()
    await executor.leases.wait_empty(executor.settings.stop_grace_s)
    attempt.release_all(executor)
