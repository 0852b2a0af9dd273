"""What is deployed beside our own code holds together: it is read as its tools would read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

import missions

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
WATCH = DEPLOY / "observability"
DASHBOARD = json.loads((WATCH / "dashboards" / "missions.json").read_text())
#: Of Prometheus and of the client's process collector.
OTHERS = {"up", "process_resident_memory_bytes"}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def expressions() -> Iterator[tuple[str, str]]:
    for rule in loaded(WATCH / "rules.yml")["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_every_expression_is_promql_about_metrics_that_exist(name: str, expression: str) -> None:
    promql_parser.parse(expression)
    told = re.findall(r"^\| `(missions_\w+)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    named = set(re.findall(r"\b(?:missions|process)_\w+|\bup\b", expression))
    assert {metric.removesuffix("_bucket") for metric in named} <= OTHERS | set(told)
    assert named, name


def test_the_dashboard_is_whole() -> None:
    (source,) = loaded(WATCH / "datasources.yml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])


def test_prometheus_asks_the_services_of_the_compose_file() -> None:
    services = loaded(DEPLOY / "compose.yaml")["services"]
    (job,) = loaded(WATCH / "prometheus.yml")["scrape_configs"]
    for target in job["static_configs"][0]["targets"]:
        name, _, port = target.partition(":")
        assert port == "8080"
        assert services[name]["environment"]["MISSIONS_HTTP_HOSTS"] == name
    assert loaded(WATCH / "prometheus.yml")["rule_files"] == ["rules.yml"]


def test_every_file_that_is_mounted_is_there() -> None:
    for service in loaded(DEPLOY / "compose.yaml")["services"].values():
        for mount in service.get("volumes", []):
            if mount.startswith("./"):
                assert (DEPLOY / mount.partition(":")[0]).exists(), mount


def test_every_port_is_on_loopback_and_every_image_is_pinned() -> None:
    for name, service in loaded(DEPLOY / "compose.yaml")["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        tag = re.search(r":-[\w./-]+:([\w.-]+)\}$", service["image"])
        assert tag, name
        assert tag[1] != "latest"


def test_the_image_has_the_version_of_the_code() -> None:
    images = {service["image"] for service in loaded(DEPLOY / "compose.yaml")["services"].values()}
    assert f"${{COMPOSE_MISSIONS_IMAGE:-missions:{missions.__version__}}}" in images
