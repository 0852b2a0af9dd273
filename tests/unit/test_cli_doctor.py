"""The checks of the doctor that need no broker."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from missions.cli import checks
from missions.cli.broker_checks import sync_always
from missions.cli.sources import mask, setting_sources
from missions.cli.waiting_checks import lag
from services.runtime.readers import Reader
from services.runtime.settings import load

Usage = namedtuple("Usage", "total used free")


def reader(**fields: object) -> Reader:
    known = {"stream": "MISSIONS", "durable": "executor-gpu", "waiting": 0, "pending": 0, "owned": 0, "silent_s": None}
    return Reader(**{**known, **fields})  # type: ignore[arg-type]  # the fields of a test


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"waiting": 1}, "ok"),
        ({"waiting": 0}, "fail"),
        ({"waiting": 1, "pending": 5_000}, "warn"),
        ({"waiting": 0, "owned": 200, "silent_s": 10.0}, "ok"),
        ({"waiting": 0, "owned": 0, "silent_s": 10.0}, "fail"),
        ({"waiting": 0, "owned": 1, "silent_s": 300.0}, "fail"),
    ],
)
def test_a_consumer_is_well_when_somebody_reads_it(fields: dict[str, object], state: str) -> None:
    assert lag(reader(**fields)).state == state


def test_the_hint_for_a_queue_nobody_serves_can_be_typed() -> None:
    assert lag(reader()).hint.startswith("missions executor --queues gpu")


def test_little_room_on_the_disk_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**10))

    assert checks.disk(load(data_dir=tmp_path)).state == "fail"


def test_a_folder_that_is_not_made_yet_is_no_failure(tmp_path: Path) -> None:
    check = checks.disk(load(data_dir=tmp_path / "later" / "still"))

    assert (check.state, check.detail.endswith("not made yet")) == ("ok", True)


async def test_durability_that_cannot_be_read_is_called_unverified() -> None:
    for url in (None, "http://127.0.0.1:1"):
        check = await sync_always(url)
        assert (check.state, check.detail.startswith("unverified")) == ("warn", True)
        assert "whiteboard" not in check.detail + check.hint
        assert url is None or f"no monitor of nats-server is reachable at {url}" in check.detail


def test_each_setting_names_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_LEASE_S", "7")
    monkeypatch.setenv("NATS_TOKEN", "s3cret")
    settings = load(nats_url="nats://ann:s3cret@here:4222")

    rows = {name: (value, source) for name, value, source in setting_sources(settings, {"nats_url": "given"})}

    assert rows["MISSIONS_NATS_URL"] == ("nats://***@here:4222", "--nats-url")
    assert rows["MISSIONS_LEASE_S"] == ("7.0", "environment")
    assert rows["MISSIONS_QUEUES"] == ("default", "default")
    assert rows["NATS_TOKEN"] == ("***", "environment")
    assert "s3cret" not in str(rows)


def test_a_url_is_masked_wherever_it_stands() -> None:
    assert mask("nats://a:b@x,nats://c:d@y") == "nats://***@x,nats://***@y"


def test_an_unknown_variable_is_found() -> None:
    assert checks.names({"MISSIONS_LEASE_S": "1"}).state == "ok"
    assert checks.names({"MISSIONS_LEESE_S": "1"}).state == "fail"
