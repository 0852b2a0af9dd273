"""The broker of compose: the official image with our configuration."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

CONF = Path(__file__).parents[2] / "deploy" / "nats.conf"
IN_CONTAINER = "/etc/nats/missions.conf"


def test_image_runs_with_our_configuration_and_fsyncs() -> None:
    healthy = HttpWaitStrategy(8222, "/healthz?js-enabled-only=true").with_poll_interval(0.05)
    container = (
        DockerContainer("nats:2.15-alpine")
        .with_exposed_ports(4222, 8222)
        .with_copy_into_container(CONF, IN_CONTAINER)
        .with_command(f"--config {IN_CONTAINER}")
        .waiting_for(healthy)
    )
    with container as broker:
        monitor = f"http://{broker.get_container_host_ip()}:{broker.get_exposed_port(8222)}"
        with urllib.request.urlopen(f"{monitor}/varz", timeout=5) as answer:
            varz = json.load(answer)
    assert varz["jetstream"]["config"]["sync_always"] is True
    assert varz["jetstream"]["config"]["store_dir"].startswith("/data/js")
