"""The compose file: missions complete through it, and each container may be restarted in turn with nothing lost."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from contracts import topology
from missions import Client
from missions.ports import Port
from missions.testing import history
from missions.testing.reading import journalled, whole_stream
from tests.docker.conftest import ROOT
from tests.support.eventually import eventually
from tests.support.up import without_error

pytestmark = pytest.mark.timeout(900)  # the first one builds the image

COMPOSE = ROOT / "deploy" / "compose.yaml"
SERVICES = ["orchestrator", "executor", "whiteboard"]


class Deployment:
    """A project of compose, on free ports."""

    def __init__(self, image: str, ports: dict[str, int]) -> None:
        self.nats_url = f"nats://127.0.0.1:{ports['NATS_PORT']}"
        self.orchestrator_url = f"http://127.0.0.1:{ports['ORCHESTRATOR_PORT']}"
        self.whiteboard_url = f"http://127.0.0.1:{ports['WHITEBOARD_PORT']}"
        compose = shutil.which("docker-compose")
        self._command = [compose] if compose else ["docker", "compose"]
        self._command += ["--file", str(COMPOSE), "--project-name", f"missions-test-{os.getpid()}"]
        self._env = os.environ | {name: str(port) for name, port in ports.items()} | {"COMPOSE_MISSIONS_IMAGE": image}

    def compose(self, *arguments: str) -> str:
        """Run a command of compose to its end."""
        ran = subprocess.run(
            [*self._command, *arguments], env=self._env, capture_output=True, text=True, timeout=240, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        listed = ["docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.service={service}"]
        mine = ["--filter", f"label=com.docker.compose.project={self._command[-1]}"]
        return subprocess.run([*listed, *mine], capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    def inspect(self, service: str, what: str) -> str:
        """Return a field of a container."""
        command = ["docker", "inspect", "--format", f"{{{{json {what}}}}}", self.container(service)]
        return str(json.loads(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout))

    async def ready(self) -> None:
        """Wait until what has a port says that it is ready, and the executor's own health check that it is."""
        await eventually(lambda: without_error(self.orchestrator_url, self.whiteboard_url), within_s=60)
        await eventually(partial(self.is_healthy, "executor"), 60)

    def is_healthy(self, service: str) -> bool:
        """Whether the image's own health check says so."""
        return self.inspect(service, ".State.Health.Status") == "healthy"

    def journal(self, into: Path) -> Path:
        """Copy the journal out of its container."""
        copy = ["docker", "cp", f"{self.container('whiteboard')}:/data/journal", "-"]
        archive = subprocess.run(copy, capture_output=True, timeout=60, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(into, filter="data")
        return into / "journal"


@pytest.fixture
def deployment(missions_image: str) -> Iterator[Deployment]:
    with ExitStack() as held:
        ports = {}
        for name in ("NATS_PORT", "NATS_MONITOR_PORT", "ORCHESTRATOR_PORT", "WHITEBOARD_PORT"):
            port = Port("127.0.0.1", 0)
            held.callback(port.release)
            ports[name] = port.number
        deployed = Deployment(missions_image, ports)
        held.callback(deployed.compose, "down", "--volumes", "--timeout", "5")
        deployed.compose("up", "--detach", "--no-build")
        yield deployed


async def test_each_container_is_restarted_in_turn_and_nothing_is_lost(deployment: Deployment, tmp_path: Path) -> None:
    await deployment.ready()
    async with Client(deployment.nats_url, deployment.whiteboard_url, connect_s=10) as client:
        greeting = await client.say("say hello to Ann")  # a goal of examples/, through a phrase
        assert (await client.wait(greeting, seconds=30))["result"] == "Hello, Ann!"
        missions = [greeting]
        for service in ["nats", *SERVICES]:
            missions.append(await client.say("/run echo text=before\n/run sleep seconds=2\n/run echo text=after"))
            await asyncio.to_thread(deployment.compose, "restart", "--timeout", "10", service)
            await deployment.ready()
            assert (await client.wait(missions[-1], seconds=60))["status"] == "completed"
        await journalled(client, 30)
        records = await whole_stream(await client.bus(), topology.MISSIONS)
        board = [(await client.mission(mission_id))["status"] for mission_id in missions]
    assert board == ["completed"] * 5
    assert history.histories(records).keys() == set(missions)
    history.assert_legal_history(records)
    history.assert_one_outcome(records)
    history.assert_journal_equals_stream(deployment.journal(tmp_path), records)


async def test_services_run_without_privileges_and_end_in_order(deployment: Deployment) -> None:
    await deployment.ready()
    for service in SERVICES:
        await eventually(partial(deployment.is_healthy, service), 60)
        assert deployment.inspect(service, ".Config.User") == "10001:10001"
        assert deployment.inspect(service, ".HostConfig.ReadonlyRootfs") == "True"
    await asyncio.to_thread(deployment.compose, "stop", "--timeout", "9", *SERVICES)
    assert [deployment.inspect(service, ".State.ExitCode") for service in SERVICES] == ["0"] * 3
