"""One container of a stack, and where it is reached from this machine."""

from __future__ import annotations

import time
import urllib.request
from contextlib import suppress
from typing import Any

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from contracts.errors import SetupError
from missions.ports import Port
from missions.testing.backend import READY_WITHIN_S, TAIL_BYTES

_HOST = "127.0.0.1"
_LOOK_S = 0.05
_ASK_S = 2.0
_TAIL_LINES = 200


class Part:
    """One container, and where it is reached from this machine."""

    def __init__(self, name: str, image: str, ports: set[int], health_port: int, health_path: str) -> None:
        self.name = name
        self.container = DockerContainer(image)
        self.host = self._host()
        self._health = (health_port, health_path)
        # Held until the end, so that nobody else takes a port while the container that has it is down.
        self._ports = {port: Port(_HOST, 0) for port in ports}
        for inside, port in self._ports.items():
            self.container.ports[str(inside)] = _published(self.host, port.number)

    @property
    def wrapped(self) -> Any:
        """The container as the Docker client knows it."""
        return self.container.get_wrapped_container()

    def start(self) -> None:
        """Start it, without waiting for it to be ready."""
        self.container.start()

    def place(self, port: int) -> str:
        """Return host and port by which this machine reaches a port of the container."""
        if self.container.get_docker_client().get_connection_mode().use_mapped_port:
            return f"{self.host}:{self._ports[port].number}"
        return f"{self.container.get_container_host_ip()}:{port}"

    def url(self, port: int) -> str:
        """Return the URL of an HTTP port."""
        return f"http://{self.place(port)}"

    def await_ready(self) -> None:
        """Ask for its health until it is ready; raises `SetupError` once it has ended, or the time is over."""
        port, path = self._health
        deadline = time.monotonic() + READY_WITHIN_S
        while (why := _unready(self.url(port) + path)) != "":
            self.container.reload()
            if self.container.status in {"exited", "dead"}:
                raise SetupError(f"{self.name} did not start: {(self.log().splitlines() or ['it said nothing'])[-1]}")
            if time.monotonic() > deadline:
                raise SetupError(f"{self.name} is not ready after {READY_WITHIN_S:g} s: {why}")
            time.sleep(_LOOK_S)

    def log(self) -> str:
        """Return the end of what it logged."""
        try:
            logged: bytes = self.wrapped.logs(tail=_TAIL_LINES)
        except Exception as error:  # noqa: BLE001 - it was never made, or the engine is gone: a log is no reason to fail
            return str(error)
        return logged[-TAIL_BYTES:].decode(errors="replace")

    def remove(self) -> None:
        """Remove the container, running or not, and let go of its ports."""
        with suppress(DockerException):
            self.container.stop()
        for port in self._ports.values():
            port.release()

    def _host(self) -> str:
        return self.container.get_docker_client().host()


def _published(host: str, port: int) -> Any:
    """Return what a port is bound to: loopback, unless the engine is on another machine."""
    return (_HOST, port) if host in {"localhost", _HOST} else port


def _unready(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_ASK_S):  # noqa: S310 - of a container that we started
            return ""
    except OSError as error:
        return str(error)
