"""What every attempt in this process shares."""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from functools import cache
from typing import Protocol

from contracts import topology
from contracts.errors import ContractError
from services.executor.call import Call
from services.executor.isolation.loop import HandlerLoop
from services.executor.isolation.process import HandlerProcesses
from services.executor.isolation.thread import HandlerThreads
from services.executor.lease import Leases
from services.executor.registry import Handler, Registry
from services.executor.reports.spool import Spool
from services.executor.runner import Outcome
from services.executor.turns import Turns
from services.runtime.bus import Bus
from services.runtime.metrics import Metrics
from services.runtime.objects import Objects
from services.runtime.settings import Settings
from services.runtime.writer import Writer


class Place(Protocol):
    """Where handlers run: one signature, several places."""

    detached: Counter[str]  #: tries that were given up and go on, by kind

    async def reserve(self) -> None:
        """Wait for room, outside the time that a handler has."""

    async def run(self, call: Call) -> bytes:
        """Run a handler and return its result as JSON."""

    def close(self) -> None:
        """Let go of it."""


class Executor:
    """The parts of one executor process. Made on the service's loop."""

    def __init__(self, bus: Bus, registry: Registry, settings: Settings, metrics: Metrics, lease_s: float) -> None:
        self.bus = bus
        self.registry = registry
        self.settings = settings
        self.writer = Writer(bus, topology.MISSIONS)
        self.leases = Leases(bus, lease_s)
        self.objects = Objects(bus)
        self.spool = Spool()
        self.loop = HandlerLoop()
        self.processes = HandlerProcesses(registry, settings)
        self.places: dict[str, Place] = {
            "loop": self.loop,
            "thread": HandlerThreads(settings.concurrency),
            "process": self.processes,
        }
        self.actor = f"executor/{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        ended = metrics.counter("ended", "Missions this executor ended", ("status", "reason"))
        goal_seconds = metrics.histogram("goal_seconds", "Run time of tries at goals", ("kind",))
        self._ended = cache(ended.labels)
        self._goal_seconds = cache(goal_seconds.labels)
        self.turns = Turns()
        self.claiming: set[int] = set()  #: work items, by sequence, whose claim is on its way
        metrics.gauge("owned", "Missions owned now").set_function(lambda: len(self.leases))

    def handler(self, kind: str) -> Handler:
        """Return the handler of a kind that was checked at the claim."""
        handler = self.registry.get(kind)
        if handler is None:
            raise ContractError(f"unknown goal kind {kind!r}")
        return handler

    def count(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self._ended(outcome.status.value, outcome.reason).inc()

    def measure(self, kind: str, seconds: float) -> None:
        """Take note of how long a try at a goal took."""
        self._goal_seconds(kind).observe(seconds)

    def close(self) -> None:
        """Let go of the places where handlers run."""
        for place in self.places.values():
            place.close()
        self.spool.close()
