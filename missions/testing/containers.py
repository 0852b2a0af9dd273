"""The stack in containers, with testcontainers: the broker's image, ours, and a network of their own."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from docker.errors import APIError, DockerException
from testcontainers.core.network import Network

from contracts.errors import SetupError
from contracts.subjects import DEFAULT_QUEUE
from missions import __version__
from missions.nats_config import render_config
from missions.testing.backend import Unsupported, Wanted
from missions.testing.container_disks import Disks
from missions.testing.container_part import Part

#: The environment wins over these, and `with_images(…)` over the environment.
MISSIONS_IMAGE = ("TESTCONTAINERS_MISSIONS_IMAGE", f"missions:{__version__}")
NATS_IMAGE = ("TESTCONTAINERS_NATS_IMAGE", "nats:2.15-alpine")

_NATS_PORT, _MONITOR_PORT, _HTTP_PORT = 4222, 8222, 8080
_ANYWHERE = "0.0.0.0"  # noqa: S104 - inside a container
_CONF = "/etc/nats/missions.conf"
_DATA = "/data"


class Containers:
    """One container per part, on ports that outlive a restart. Every one is removed by `stop`, with or without Ryuk."""

    queue = DEFAULT_QUEUE
    owns_broker = True

    def __init__(self, wanted: Wanted, *, missions_image: str | None = None, nats_image: str | None = None) -> None:
        self.names = ["nats", *wanted.service_names]
        self.cuttable: Collection[str] = self.names
        self.bounded: Collection[str] = wanted.disks
        self._wanted = wanted
        self._missions_image = missions_image or os.environ.get(*MISSIONS_IMAGE)
        self._nats_image = nats_image or os.environ.get(*NATS_IMAGE)
        self._network: Network | None = None
        self._parts: dict[str, Part] = {}
        self._disks: Disks | None = None

    @property
    def nats_url(self) -> str:
        """Where NATS clients on this machine connect."""
        return f"nats://{self._parts['nats'].place(_NATS_PORT)}"

    @property
    def whiteboard_url(self) -> str | None:
        """Where missions are asked for."""
        return self._parts["whiteboard"].url(_HTTP_PORT)

    @property
    def orchestrator_url(self) -> str | None:
        """Where chat events are posted."""
        return self._parts["orchestrator"].url(_HTTP_PORT)

    def start(self) -> None:
        """Start all side by side and return when every one is ready; raises `SetupError`."""
        try:
            self._network = Network().create()
            self._disks = Disks(self._nats_image, self._wanted.disks)
            self._disks.start()
            self._parts = {name: self._part(name) for name in self.names}
            _together(self._parts.values(), Part.start)
            _together(self._parts.values(), Part.await_ready)
        except DockerException as error:
            raise SetupError(_why(error, self._missions_image)) from error

    def stop(self) -> None:
        """Remove the containers, then their network."""
        if self._parts:
            _together(self._parts.values(), Part.remove)
        if self._disks is not None:
            self._disks.remove()
        if self._network is not None:
            with suppress(DockerException):
                self._network.remove()
            self._network = None

    def log(self, name: str) -> str:
        """Return the end of what a container logged."""
        return self._parts[name].log() if name in self._parts else ""

    def kill(self, name: str) -> None:
        """Crash a container by SIGKILL; it stays down, with its files, until `restart`."""
        self._parts[name].wrapped.kill()

    def restart(self, name: str) -> None:
        """Start a container, after ending it in order if it runs, and wait until it is ready."""
        self._parts[name].wrapped.restart(timeout=10)
        for part in self._parts.values() if name == "nats" else [self._parts[name]]:
            part.await_ready()

    def pause(self, name: str) -> None:
        """Freeze a container: the kernel's freezer, so no process of it notices."""
        self._parts[name].wrapped.pause()

    def resume(self, name: str) -> None:
        """Let a frozen container go on."""
        self._parts[name].wrapped.unpause()

    def partition(self, name: str) -> None:
        """Take a container off the network: to the others it is gone, and it lives."""
        self._joined().disconnect(self._parts[name].wrapped, force=True)

    def heal(self, name: str) -> None:
        """Put a container back on the network, and wait until it is ready."""
        self._joined().connect(self._parts[name].wrapped, aliases=[name])
        for part in self._parts.values() if name == "nats" else [self._parts[name]]:
            part.await_ready()

    def fill_disk(self, name: str) -> None:
        """Leave no room on the disk of a part; raises `Unsupported` where nothing bounds it."""
        self._started_disks.fill(name)

    def free_disk(self, name: str) -> None:
        """Give the room back."""
        self._started_disks.free(name)

    def journal(self, into: Path) -> Path:
        """Copy the journal out of its container."""
        chunks, _ = self._parts["whiteboard"].wrapped.get_archive(f"{_DATA}/journal")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(into, filter="data")
        return into / "journal"

    @property
    def _started_disks(self) -> Disks:
        if self._disks is None:
            raise Unsupported("the stack is not started")
        return self._disks

    def _joined(self) -> Any:
        if self._network is None:
            raise Unsupported("the stack is not started")
        return self._network._unwrap_network  # testcontainers has no word for leaving a network

    def _part(self, name: str) -> Part:
        if self._network is None:
            raise Unsupported("the stack is not started")
        if name == "nats":
            part = Part(
                name, self._nats_image, {_NATS_PORT, _MONITOR_PORT}, _MONITOR_PORT, "/healthz?js-enabled-only=true"
            )
            config = render_config(PurePosixPath(_DATA), host=_ANYWHERE, port=_NATS_PORT, monitor_port=_MONITOR_PORT)
            part.container.with_copy_into_container(config.encode(), _CONF).with_command(["--config", _CONF])
        else:
            service = name.partition("-")[0]
            part = Part(name, self._missions_image, {_HTTP_PORT}, _HTTP_PORT, "/readyz")
            part.container.with_command([service]).with_envs(**self._environment(part))
            if service == "executor":
                for file, place in self._goals.items():
                    part.container.with_copy_into_container(_checked(Path(file)), place)
        self._started_disks.join(name, part.container, _DATA)
        part.container.with_network(self._network).with_network_aliases(name)
        return part

    @property
    def _goals(self) -> dict[str, str]:
        """The files with goals, and where they are in a container; modules are in the image, or nowhere."""
        files = [goals for goals in self._wanted.goals if goals.endswith(".py")]
        return {file: f"/goals/{number}/{Path(file).name}" for number, file in enumerate(files)}

    def _environment(self, part: Part) -> dict[str, str]:
        goals = [self._goals.get(goals, goals) for goals in self._wanted.goals]
        given = {
            **self._wanted.environment,
            "MISSIONS_NATS_URL": f"nats://nats:{_NATS_PORT}",
            "MISSIONS_HTTP_HOSTS": ",".join([part.name, part.host]),
            "MISSIONS_HTTP_INSECURE": "true",  # a network of the test's own
            "MISSIONS_GOALS": ",".join(goals) or None,
        }
        return {name: value for name, value in given.items() if value is not None}


def _checked(goals: Path) -> Path:
    if not goals.is_file():
        raise SetupError(f"no such goals file: {goals}")
    return goals


def _together(parts: Iterable[Part], act: Callable[[Part], None]) -> None:
    """Do it to all side by side; raises what the first raised, once all are done."""
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(act, part) for part in parts]:
            done.result()


def _why(error: DockerException, image: str) -> str:
    if isinstance(error, APIError):
        return f"{error}. Build our image in a clone: docker build -f deploy/Dockerfile -t {image} ."
    return f"no Docker engine that works: {error}. The backend process needs none"
