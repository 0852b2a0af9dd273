"""The broker of compose: the official image with our configuration."""

from __future__ import annotations

import json
import urllib.request

from tests.docker.conftest import BrokerContainer


def test_image_runs_with_our_configuration_and_fsyncs(broker_container: BrokerContainer) -> None:
    with urllib.request.urlopen(f"{broker_container.monitor_url}/varz", timeout=5) as answer:
        varz = json.load(answer)
    assert varz["jetstream"]["config"]["sync_always"] is True
    assert varz["jetstream"]["config"]["store_dir"].startswith("/data/js")
