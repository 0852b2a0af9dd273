"""One configuration for the embedded server and for containers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts import topology
from missions.nats_config import render_config

DEPLOYED = Path(__file__).parents[2] / "deploy" / "nats.conf"

#: What says where a server is; all else is shared.
PLACES = {"listen", "http", "ports_file_dir", "store_dir"}


def settings_of(config: str) -> dict[str, str]:
    pairs = re.findall(r"^\s*(\w+): (.+)$", config, re.MULTILINE)
    return {name: value for name, value in pairs if name not in PLACES}


def test_containers_run_with_the_settings_of_the_embedded_server(tmp_path: Path) -> None:
    shared = settings_of(render_config(tmp_path))
    assert settings_of(DEPLOYED.read_text()) == shared
    assert shared["sync_interval"] == "always"


def test_streams_fit_into_the_file_store() -> None:
    gigabytes = re.fullmatch(r"(\d+)GB", settings_of(DEPLOYED.read_text())["max_file_store"])
    assert gigabytes
    assert sum(stream.config["max_bytes"] for stream in topology.STREAMS) <= int(gigabytes[1]) * 1024**3


def test_lazy_sync_differs_in_one_line_only(tmp_path: Path) -> None:
    always, lazy = (set(render_config(tmp_path, sync_always=sync).splitlines()) for sync in (True, False))
    assert {line.split(":")[0].strip() for line in always ^ lazy} == {"sync_interval"}


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "ümlaut"])
def test_unusual_directory_names_are_quoted(name: str) -> None:
    config = render_config(Path("/data") / name)
    assert len(config.splitlines()) == len(render_config(Path("/data")).splitlines())
    assert "-1" in config
