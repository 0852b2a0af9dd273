"""`MissionStack`: all of Missions for a test, wherever its parts run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from contracts.errors import SetupError
from missions.client import Client
from missions.readiness import NotReady
from missions.testing import evidence
from missions.testing.backend import KEEPERS, Backend, BackendName, Unsupported, Wanted
from missions.testing.client import MissionsClient
from missions.testing.drills import Drills
from missions.testing.local_executor import LocalExecutor
from missions.testing.own_queue import new_token
from missions.testing.running import Running
from services.executor.importing import refuse_to_start


class MissionStack(Drills):
    """Orchestrator, executors, whiteboard and a broker: `with MissionStack("goals.py") as stack`.

    `backend` is where they run: `process` (an embedded broker and child processes, no Docker) or `containers`; what
    exists already is joined by `MissionStack.attach`. What fails inside the block carries, as notes of the exception,
    the tail of every log and where the consumers stand. A lease is 2 s here, so that drills are quick.
    """

    def __init__(
        self,
        *goals: str | Path,
        backend: BackendName = "process",
        executors: int = 1,
        env: dict[str, str | None] | None = None,
    ) -> None:
        super().__init__()
        self._wanted = Wanted(tuple(map(str, goals)), _at_least_one(executors), env or {})
        self._links: frozenset[str] | None = None  #: who can be cut off; empty for all
        self._kind: BackendName = backend
        self._options: dict[str, Any] = {}
        self._running: Running | None = None

    @classmethod
    def attach(
        cls, nats_url: str, whiteboard_url: str | None = None, *goals: str | Path, orchestrator: bool = False
    ) -> Self:
        """Join a broker that somebody else runs, with a conversation, a queue and executors of its own on it.

        Missions are read from the whiteboard, or without one from the broker. `orchestrator`: run one too, where
        nobody does; several share the work.
        """
        stack = cls(*goals, backend="attach")
        stack._options = {"nats_url": nats_url, "whiteboard_url": whiteboard_url, "orchestrator": orchestrator}
        return stack

    def with_goals(self, *goals: str | Path) -> Self:
        """Add files or modules with goals."""
        self._wanted = replace(self._wanted, goals=(*self._wanted.goals, *map(str, goals)))
        return self

    def with_executors(self, count: int) -> Self:
        """Run so many executors: `executor`, `executor-2`, …."""
        self._wanted = replace(self._wanted, executors=_at_least_one(count))
        return self

    def with_env(self, **variables: str | None) -> Self:
        """Tell the services more: `with_env(MISSIONS_LEASE_S="1")`; None takes a variable away."""
        self._wanted = replace(self._wanted, env={**self._wanted.env, **variables})
        return self

    def with_disk(self, name: str, mb: int = 32) -> Self:
        """Give `nats` or `whiteboard` a disk of so many MiB, for `fill_disk`; it is memory, and goes with the stack.

        The backend `process` needs Linux and root for it, and says so at the start.
        """
        if name not in KEEPERS:
            raise Unsupported(f"{name} keeps nothing on a disk; {' and '.join(KEEPERS)} do")
        self._wanted = replace(self._wanted, disks={**self._wanted.disks, name: mb})
        return self

    def with_link(self, *names: str) -> Self:
        """Let these services, or all of them, be cut off from the broker by `partition`; containers always can be.

        As processes they reach the broker through a relay of this process then.
        """
        self._links = (self._links or frozenset()) | frozenset(names) if names else frozenset()
        return self

    def with_images(self, *, missions: str | None = None, nats: str | None = None) -> Self:
        """Run other images than the pinned ones; only the backend `containers` has any."""
        named = {"missions_image": missions, "nats_image": nats}
        self._options |= {name: image for name, image in named.items() if image}
        return self

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
                self.talk.explain(error)
        finally:
            self.stop()

    @property
    def nats_url(self) -> str:
        """Where NATS clients connect."""
        return self.backend.nats_url

    @property
    def whiteboard_url(self) -> str | None:
        """Where missions are asked for; None on a broker that was joined without one."""
        return self.backend.whiteboard_url

    @property
    def orchestrator_url(self) -> str | None:
        """Where chat events are posted; None on a broker that was joined."""
        return self.backend.orchestrator_url

    def start(self) -> None:
        """Start everything and return when it is ready; raises `SetupError` and leaves nothing behind."""
        if self._running is not None:
            raise SetupError("the stack is started already")
        refuse_to_start("a stack")
        links = frozenset() if self._links is None else self._links or frozenset(self._wanted.service_names)
        backend = _made(self._kind, replace(self._wanted, links=links), self._options)
        try:
            backend.start()
            self._running = Running(backend)
            self._running.begin()
        except BaseException as error:
            if isinstance(error, NotReady):
                error.forget_log_file()
            if any(map(backend.log, backend.names)):
                evidence.add_notes(error, *evidence.of_logs(backend))
            if self._running is None:
                backend.stop()
            self.stop()
            raise

    def stop(self) -> None:
        """End everything that was started."""
        if self._running is not None:
            running, self._running = self._running, None
            self._hurt.clear()
            self._full.clear()
            running.end()

    def client(self) -> Client:
        """Return a client for an async test: `async with stack.client() as client`."""
        return Client(self.nats_url, self.whiteboard_url, connect_s=10)

    @contextmanager
    def conversation(self, name: str = "", *, goals: bool = True) -> Iterator[MissionsClient]:
        """Speak in a conversation of its own, to a queue of its own.

        That queue is served from this process, by those of `serve(…)` and, unless `goals` is false, the stack's.
        """
        running = self._started
        queue = new_token()
        local = LocalExecutor(self.nats_url, queue, self._wanted.goals if goals else ())
        try:
            yield running.speaking({"conversation": name or queue, "queue": queue}, queue, local)
        finally:
            local.stop()
            if local.used:
                running.forget(queue)

    @property
    def is_started(self) -> bool:
        """Whether it runs."""
        return self._running is not None

    @property
    def backend(self) -> Backend:
        """The parts; raises `SetupError` before `start`."""
        return self._started.backend

    @property
    def talk(self) -> MissionsClient:
        """The client that speaks to the stack's own executors."""
        return self._started.talk

    @property
    def _started(self) -> Running:
        if self._running is None:
            raise SetupError("the stack is not started: use it as a context manager, or call start()")
        return self._running


def _at_least_one(executors: int) -> int:
    if executors < 1:
        raise SetupError(f"executors={executors}: a stack has at least one")
    return executors


def _made(kind: BackendName, wanted: Wanted, options: dict[str, Any]) -> Backend:
    """Make a backend, importing only what it needs."""
    if kind == "process":
        from missions.testing.processes import Processes  # noqa: PLC0415

        return Processes(wanted)
    if kind == "containers":
        return _containers(wanted, options)
    if kind != "attach":
        raise SetupError(f"backend={kind!r}; known: process, containers; MissionStack.attach(nats_url) joins a broker")
    if "nats_url" not in options:
        raise SetupError("attach to what? MissionStack.attach(nats_url)")
    from missions.testing.attached import Attached  # noqa: PLC0415

    return Attached(wanted, **options)


def _containers(wanted: Wanted, options: dict[str, Any]) -> Backend:
    try:
        from missions.testing.containers import Containers  # noqa: PLC0415 - testcontainers takes half a second
    except ImportError as error:
        raise SetupError(f'containers need {error.name}: pip install "nats-missions[testing]"') from error
    return Containers(wanted, **options)
