"""A broker in a container, from the image and the configuration that production uses."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # read at import; every container here ends with its test

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

ROOT = Path(__file__).parents[2]
IMAGE = "missions:test"
CONF = ROOT / "deploy" / "nats.conf"
IN_CONTAINER = "/etc/nats/missions.conf"


class BrokerContainer(NamedTuple):
    """Where it is, and the container itself."""

    nats_url: str
    monitor_url: str
    container: DockerContainer

    def kill(self) -> None:
        """Crash the broker; its files stay in the container."""
        self.container.get_wrapped_container().kill()

    def start(self) -> None:
        """Start it again, on the same port."""
        self.container.get_wrapped_container().start()


@pytest.fixture(scope="session")
def missions_image() -> str:
    """Build our image from this tree, as `docker build` does for anybody, and return its name."""
    command = ["docker", "build", "--quiet", "--file", "deploy/Dockerfile", "--tag", IMAGE, "."]
    plain = {name: value for name, value in os.environ.items() if name != "DOCKER_BUILDKIT"}  # either builder will do
    built = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


@pytest.fixture
def broker_container() -> Iterator[BrokerContainer]:
    """Start `nats:2.15-alpine` with our configuration, on a host port that outlives a restart."""
    healthy = HttpWaitStrategy(8222, "/healthz?js-enabled-only=true").with_poll_interval(0.05)
    port = _free_port()
    container = (
        DockerContainer("nats:2.15-alpine")
        .with_bind_ports(4222, port)
        .with_exposed_ports(8222)
        .with_copy_into_container(CONF, IN_CONTAINER)
        .with_command(f"--config {IN_CONTAINER}")
        .waiting_for(healthy)
    )
    with container:
        host = container.get_container_host_ip()
        monitor_url = f"http://{host}:{container.get_exposed_port(8222)}"
        yield BrokerContainer(f"nats://{host}:{port}", monitor_url, container)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
