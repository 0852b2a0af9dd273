"""Settings: read once, checked, and an unknown name is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import SetupError
from services.runtime import nats_address, settings
from services.runtime.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NATS_URL", "NATS_CONTEXT", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN", "NATS_CREDS", "NATS_NKEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_LEASE", "3")
    with pytest.raises(SetupError, match="unknown setting MISSIONS_LEASE; did you mean MISSIONS_LEASE_S"):
        settings.load()


def test_what_kubernetes_injects_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("MISSIONS_WHITEBOARD_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MISSIONS_PORT_80_TCP_ADDR", "10.0.0.1")
    settings.load()


def test_a_bad_value_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_CONCURRENCY", "many")
    with pytest.raises(SetupError, match="MISSIONS_CONCURRENCY='many'"):
        settings.load()
    monkeypatch.setenv("MISSIONS_CONCURRENCY", "3")
    monkeypatch.setenv("MISSIONS_QUEUES", "a, b.c")
    with pytest.raises(SetupError, match=r"MISSIONS_QUEUES.*queue 'b\.c'"):
        settings.load()


def test_lists_are_split_at_commas_and_paths_may_have_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_QUEUES", "gpu, default")
    monkeypatch.setenv("MISSIONS_GOALS", "/my goals/a.py, b")
    assert settings.load().queues == ("gpu", "default")
    assert settings.load().goals == ("/my goals/a.py", "b")
    assert settings.load(goals=("a,b", "c")).goals == ("a", "b", "c")


def test_nats_is_found_in_the_documented_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert nats_address.find(Settings()).url == nats_address.DEFAULT_URL
    (tmp_path / "nats" / "context").mkdir(parents=True)
    (tmp_path / "nats" / "context.txt").write_text("prod\n")
    (tmp_path / "nats" / "context" / "prod.json").write_text('{"url": "nats://prod:4222", "token": "env://SECRET"}')
    monkeypatch.setenv("SECRET", "s3")
    found = nats_address.find(Settings())
    assert (found.url, found.options, found.source) == ("nats://prod:4222", {"token": "s3"}, "NATS context prod")
    monkeypatch.setenv("NATS_URL", "nats://env:4222")
    assert nats_address.find(Settings()).url == "nats://env:4222"
    assert nats_address.find(Settings()).options == {}  # the context's secret goes to its own URL only
    assert nats_address.find(Settings(nats_url="nats://set:4222")).url == "nats://set:4222"


def test_secret_stores_we_cannot_read_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "nats" / "context").mkdir(parents=True)
    (tmp_path / "nats" / "context.txt").write_text("vault")
    (tmp_path / "nats" / "context" / "vault.json").write_text('{"token": "op://vault/item"}')
    with pytest.raises(SetupError, match="op://"):
        nats_address.find(Settings())


def test_a_context_name_cannot_leave_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_CONTEXT", "../../etc/passwd")
    with pytest.raises(SetupError, match="not usable"):
        nats_address.find(Settings())
