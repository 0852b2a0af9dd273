"""Fixtures for every tier; each test that needs a broker has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from missions.nats_server import NatsServer
from tests.support.docker_engine import why_no_engine

#: Suites that others inherit.
pytest.register_assert_rewrite(*(f"tests.support.{suite}" for suite in ("conformance", "full_disks", "partitions")))

HERE = Path(__file__).parent
#: The marker of each folder; what is believed about NATS is looked up on a real server.
TIERS = {"integration": "integration", "nats_facts": "integration", "e2e": "e2e", "docker": "docker"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the folder of its tier; skip the docker tier, with the reason, where there is no Docker."""
    for item in items:
        tier = TIERS.get(item.path.relative_to(HERE).parts[0])
        if tier is not None:
            item.add_marker(tier)
        if tier == "docker" and (reason := why_no_engine()):
            item.add_marker(pytest.mark.skip(reason=f"docker tier skipped: {reason}"))


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Start a nats-server of this test's own, fsyncing as in production."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """Return the URL of this test's own nats-server."""
    return nats_server.url


@pytest.fixture(autouse=True)
def _logs_as_they_come() -> Iterator[None]:
    """Undo what a service that ran in the test's process did to logging."""
    yield
    structlog.reset_defaults()
