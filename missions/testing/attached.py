"""A broker that somebody else runs: only executors are started, on a queue of their own; nothing of others changes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from contracts import topology
from contracts.errors import MissionsError, SetupError
from missions import ports, preflight
from missions.child import STOP_WITHIN_S
from missions.client import Client
from missions.keeper import Keeper
from missions.ports import Port
from missions.readiness import await_ready
from missions.service_process import ServiceProcess
from missions.testing.backend import READY_WITHIN_S, TAIL_BYTES, Unsupported, Wanted
from missions.testing.own_queue import forget_queue, new_token
from missions.testing.portal import run_apart

_HOST = "127.0.0.1"
_LOOK_S = 0.1
_SOMEBODY_WITHIN_S = 5.0
_NOT_CUT = "executors on a broker that was joined cannot be cut off: use the backend process or containers"
_NOT_OURS = "the disks belong to the deployment that was joined: use the backend process or containers"


class Attached:
    """Executors as processes, beside a deployment that stays as it was but for the records of what was said."""

    owns_broker = False
    cuttable: Collection[str] = ()
    bounded: Collection[str] = ()
    orchestrator_url: str | None = None

    def __init__(
        self, wanted: Wanted, *, nats_url: str, whiteboard_url: str | None = None, orchestrator: bool = False
    ) -> None:
        if wanted.disks:
            raise Unsupported(_NOT_OURS)
        if wanted.links:
            raise Unsupported(_NOT_CUT)
        self.nats_url = nats_url
        self.whiteboard_url = whiteboard_url
        self.queue = new_token()
        self.names = [*(["orchestrator"] if orchestrator else []), *wanted.executor_names]
        self._wanted = wanted
        self._folder = Path(tempfile.mkdtemp(prefix="missions-"))
        self._ports: list[Port] = []
        self._services: dict[str, ServiceProcess] = {}
        self._keepers: dict[str, Keeper] = {}

    def start(self) -> None:
        """Start the executors and return when they are ready and somebody takes chat events; raises `SetupError`."""
        preflight.check_goals(",".join(self._wanted.goals))
        self._ports = ports.take(_HOST, 0, len(self.names))
        env = self._environment()
        for name, port in zip(self.names, self._ports, strict=True):
            self._services[name] = ServiceProcess(name.partition("-")[0], port, env, self._log_file(name))
            self._keepers[name] = Keeper(name, self._services[name], lambda *_, **__: None)
            self._keepers[name].start()
        await_ready(self._services, READY_WITHIN_S, lambda name: self._keepers[name].crashes > 0)
        run_apart(_check_orchestrator(self.nats_url))

    def stop(self) -> None:
        """End what was started, and take its queue off the broker."""
        for name, keeper in self._keepers.items():
            keeper.release()
            self._services[name].terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for name, keeper in self._keepers.items():
            if not keeper.join(deadline - time.monotonic()):
                self._services[name].kill()
        for port in self._ports:
            port.release()
        if self._services:
            with suppress(MissionsError, OSError):
                run_apart(_forget(self.nats_url, self.queue))
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self, name: str) -> str:
        """Return the end of what a process logged."""
        with suppress(OSError):
            return self._log_file(name).read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""

    def kill(self, name: str) -> None:
        """Crash a process of ours by SIGKILL; it stays down until `restart`."""
        self._keepers[name].kill(stay_down=True)

    def restart(self, name: str) -> None:
        """Start a process of ours, after ending it in order if it runs, and wait until it is ready."""
        self._keepers[name].restart()
        await_ready({name: self._services[name]}, READY_WITHIN_S, lambda _: False)

    def pause(self, name: str) -> None:
        """Freeze a process of ours by SIGSTOP."""
        self._services[name].pause()

    def resume(self, name: str) -> None:
        """Let a frozen process go on."""
        self._services[name].resume()

    def partition(self, name: str) -> None:
        """Refuse: nothing of ours is between an executor and that broker."""
        raise Unsupported(f"{_NOT_CUT}, or pause {name}")

    def heal(self, name: str) -> None:
        """Do nothing: nothing was cut off."""

    def fill_disk(self, name: str) -> None:
        """Refuse: what keeps something is somebody else's."""
        raise Unsupported(_NOT_OURS)

    def free_disk(self, name: str) -> None:
        """Refuse: nothing was filled."""
        raise Unsupported(_NOT_OURS)

    def journal(self, into: Path) -> Path:
        """Refuse: the journal belongs to somebody else's whiteboard."""
        raise Unsupported("the journal belongs to the deployment that was joined")

    def _log_file(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        ours = {
            "MISSIONS_NATS_URL": self.nats_url,
            "MISSIONS_QUEUES": self.queue,
            "MISSIONS_GOALS": ",".join(self._wanted.goals) or None,
        }
        given = {**os.environ, **self._wanted.environment, **ours}
        return {name: value for name, value in given.items() if value is not None}


async def _check_orchestrator(nats_url: str) -> None:
    """Raise `SetupError` where nobody would make missions of chat events: an open pull request shows somebody."""
    deadline = time.monotonic() + _SOMEBODY_WITHIN_S
    async with Client(nats_url, connect_s=10) as client:
        bus = await client.bus()
        while not (await bus.api(f"CONSUMER.INFO.{topology.CHAT}.{topology.ORCHESTRATOR}"))["num_waiting"]:
            if time.monotonic() > deadline:
                hint = "start one, or attach(…, orchestrator=True)"
                raise SetupError(f"no orchestrator takes chat events at {bus.address.shown}: {hint}")
            await asyncio.sleep(_LOOK_S)


async def _forget(nats_url: str, queue: str) -> None:
    """Take a queue's consumer off the broker, and the goal kinds that were announced on it."""
    async with Client(nats_url, connect_s=3) as client:
        await forget_queue(await client.bus(), queue)
