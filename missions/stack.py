"""The whole of Missions on one machine: an embedded broker and the services as child processes, kept alive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict

from contracts.errors import SetupError
from missions import ports, preflight
from missions.child import STOP_WITHIN_S
from missions.data_dir import DataDir
from missions.keeper import Keeper, OnEvent, warn
from missions.nats_config import HOST
from missions.nats_server import NatsServer
from missions.ports import Port
from missions.readiness import await_ready
from missions.service_process import ServiceProcess
from services.executor.importing import refuse_to_start

READY_WITHIN_S = 30.0
_NATS = "nats"
#: Of another broker than the embedded one.
_FOREIGN = ("MISSIONS_NATS_CREDS", "MISSIONS_NATS_NKEY", "MISSIONS_NATS_CA")
#: A handler that runs at Ctrl-C is run again by the next stack on this directory: nobody should wait for it.
_DEFAULTS = {"MISSIONS_STOP_GRACE_S": "0.5", "MISSIONS_HTTP_HOST": "127.0.0.1"}


class Pids(TypedDict):
    """Process ids; 0 for a process that does not run at the moment."""

    nats: int
    orchestrator: int
    executor: list[int]
    whiteboard: int


class Stack:
    """A broker, an orchestrator, executors and a whiteboard on `data_dir`; one stack per directory.

    Processes are called `nats`, `orchestrator`, `whiteboard`, `executor`, `executor-2`, … . One that dies is started
    again after a pause; all end with this process, even by kill -9. `port` is the whiteboard's, the orchestrator and
    the executors get the next ones; 0 means free ones. `env` goes over the environment that the services inherit; None
    takes a variable away. `on_event` hears of processes that end. Every failure is a `SetupError` of one line.
    """

    def __init__(  # noqa: PLR0913 - what `missions up` can be told, each by its name
        self,
        data_dir: Path,
        *,
        port: int = 0,
        nats_port: int = 0,
        goals: Sequence[str] = (),
        executors: int = 1,
        env: Mapping[str, str | None] | None = None,
        on_event: OnEvent = warn,
    ) -> None:
        self._directory = DataDir(data_dir)
        self._port = port
        self._on_event = on_event
        self._up = False
        self._executors = ["executor", *(f"executor-{number}" for number in range(2, executors + 1))]
        given = {**os.environ, **(env or {})}
        self._env = _DEFAULTS | {name: value for name, value in given.items() if value is not None}
        if goals:
            self._env["MISSIONS_GOALS"] = ",".join(goals)
        #: Where services find the broker, by their name, if not at its own port: a relay, say.
        self.nats_urls: Mapping[str, str] = {}
        self._nats = NatsServer(self._directory.nats, port=nats_port, log_file=self.log_file(_NATS))
        self._services: dict[str, ServiceProcess] = {}
        self._keepers: dict[str, Keeper] = {}
        self._ports: list[Port] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def data_dir(self) -> Path:
        """Where everything is kept."""
        return self._directory.path

    @property
    def journal(self) -> Path:
        """The journal's file that is being written."""
        return self._directory.journal

    @property
    def nats_url(self) -> str:
        """Where NATS clients connect."""
        return self._nats.url

    @property
    def nats_port(self) -> int:
        """The broker's."""
        return self._nats.port

    @property
    def monitor_url(self) -> str:
        """Where the broker tells of itself: `missions doctor --monitor-url`."""
        return self._nats.monitor_url

    @property
    def whiteboard_url(self) -> str:
        """Where missions are asked for."""
        return self.url("whiteboard")

    @property
    def orchestrator_url(self) -> str:
        """Where `POST /chat/integrated` is."""
        return self.url("orchestrator")

    def url(self, name: str) -> str:
        """Return where a service answers over HTTP."""
        return self._services[name].port.url

    def log_file(self, name: str) -> Path:
        """Return where a process logs."""
        return self._directory.logs / f"{name}.log"

    @property
    def executors(self) -> Sequence[str]:
        """The names of the executors."""
        return tuple(self._executors)

    @property
    def goals(self) -> Sequence[str]:
        """The files and modules of goals, of the environment too."""
        return tuple(filter(None, map(str.strip, self._env.get("MISSIONS_GOALS", "").split(","))))

    @property
    def pids(self) -> Pids:
        """The process ids as of now."""
        return {
            "nats": self._pid(_NATS),
            "orchestrator": self._pid("orchestrator"),
            "executor": [self._pid(name) for name in self._executors],
            "whiteboard": self._pid("whiteboard"),
        }

    def describe(self) -> dict[str, Any]:
        """Return what `missions up --json` prints."""
        return {
            "nats_url": self.nats_url,
            "whiteboard_url": self.whiteboard_url,
            "orchestrator_url": self.orchestrator_url,
            "monitor_url": self.monitor_url,
            "data_dir": str(self.data_dir),
            "pids": self.pids,
        }

    def start(self) -> None:
        """Start everything and return when every service is ready; raises `SetupError` and leaves nothing behind."""
        refuse_to_start("a stack")
        try:
            names = ["whiteboard", "orchestrator", *self._executors]
            self._preflight(len(names))
            self._directory.take()
            self._keep(_NATS, self._nats)
            for name, port in zip(names, self._ports, strict=True):
                env = self._service_env(name)
                self._services[name] = ServiceProcess(name.partition("-")[0], port, env, self.log_file(name))
                self._keep(name, self._services[name])
            await_ready(self._services, READY_WITHIN_S, self._crashed)
            self._up = True
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the services, then the broker, in order, by SIGKILL where that takes over 5 s."""
        self._up = False
        services = [(keeper, self._services[name]) for name, keeper in self._keepers.items() if name != _NATS]
        for keeper, service in services:
            keeper.release()
            service.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for keeper, service in services:
            if not keeper.join(deadline - time.monotonic()):
                service.kill()
        if nats := self._keepers.get(_NATS):
            nats.release()
            self._nats.stop()
            nats.join(1)
        self._let_go()

    def kill_all(self) -> None:
        """End everything at once by SIGKILL, waiting for nothing, so that a signal handler may call it."""
        for name, keeper in self._keepers.items():
            keeper.release()
            if pid := self._pid(name):
                os.kill(pid, signal.SIGKILL)

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """Crash a process by SIGKILL. It comes back after half a second, or with `stay_down` only by `restart`."""
        self._keepers[name].kill(stay_down=stay_down)

    def restart(self, name: str) -> None:
        """End a process in order, if it runs, start it and wait until it is ready, or for the broker: until all are."""
        self._keepers[name].restart()
        if name == _NATS:
            self.wait_ready()
        else:
            await_ready({name: self._services[name]}, READY_WITHIN_S, self._crashed)

    def pause(self, name: str) -> None:
        """Freeze a process: connections stay open and nothing answers."""
        self._process(name).pause()

    def resume(self, name: str) -> None:
        """Let a frozen process go on."""
        self._process(name).resume()

    def wait_ready(self, *names: str, within_s: float = READY_WITHIN_S) -> None:
        """Wait until these services, or all, say that they are ready, through restarts of theirs; raises `NotReady`."""
        services = {name: self._services[name] for name in names or self._services}
        await_ready(services, within_s, lambda _: False)

    def _preflight(self, services: int) -> None:
        """Take the ports and look at the rest, before anything is started or made."""
        self._directory.check()
        preflight.check_goals(self._env.get("MISSIONS_GOALS", ""))
        self._ports = ports.take(self._env["MISSIONS_HTTP_HOST"], self._port, services)
        if self._nats.port:
            preflight.check_nats_port(HOST, self._nats.port)

    def _crashed(self, name: str) -> bool:
        return self._keepers[name].crashes > 0

    def _report(self, event: str, **values: Any) -> None:
        """Pass on what happens to a process, but not while starting: then it is raised."""
        if self._up:
            self._on_event(event, **values)

    def _service_env(self, service: str) -> dict[str, str]:
        kept = {name: value for name, value in self._env.items() if name not in _FOREIGN}
        url = self.nats_urls.get(service, self.nats_url)
        return kept | {"MISSIONS_NATS_URL": url, "MISSIONS_DATA_DIR": str(self.data_dir)}

    def _process(self, name: str) -> ServiceProcess | NatsServer:
        return self._nats if name == _NATS else self._services[name]

    def _pid(self, name: str) -> int:
        try:
            return self._process(name).pid
        except SetupError:
            return 0

    def _keep(self, name: str, process: ServiceProcess | NatsServer) -> None:
        self._keepers[name] = Keeper(name, process, self._report)
        self._keepers[name].start()

    def _let_go(self) -> None:
        for port in self._ports:
            port.release()
        self._directory.let_go()
