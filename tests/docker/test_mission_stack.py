"""`MissionStack` in containers: our image, built from this tree, and the broker's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contracts.errors import SetupError
from missions.testing import MissionStack
from tests.support.conformance import KIT_GOALS, OwnConformance
from tests.support.full_disks import FullDisks
from tests.support.partitions import Partitions

pytestmark = pytest.mark.timeout(900)  # the first one builds the image


@pytest.fixture(scope="module")
def containers(missions_image: str) -> Iterator[MissionStack]:
    with MissionStack(KIT_GOALS, backend="containers").with_images(missions=missions_image) as stack:
        yield stack


@pytest.fixture(scope="module")
def small_disks(missions_image: str) -> Iterator[MissionStack]:
    stack = MissionStack(backend="containers").with_images(missions=missions_image)
    with stack.with_disk("nats").with_disk("whiteboard") as started:
        yield started


class TestContainers(OwnConformance):
    @pytest.fixture
    def stack(self, containers: MissionStack) -> MissionStack:
        return containers

    def test_ports_outlive_a_restart(self, stack: MissionStack) -> None:
        before = (stack.nats_url, stack.whiteboard_url, stack.orchestrator_url)
        for name in stack.names:
            stack.restart(name)
        assert (stack.nats_url, stack.whiteboard_url, stack.orchestrator_url) == before
        assert stack.run("/run echo text=hi").result == "hi"


@pytest.fixture(scope="module")
def two_executors(missions_image: str) -> Iterator[MissionStack]:
    stack = MissionStack(backend="containers", executors=2).with_images(missions=missions_image)
    with stack.with_disk("whiteboard") as started:
        yield started


class TestPartitions(Partitions):
    @pytest.fixture
    def stack(self, two_executors: MissionStack) -> MissionStack:
        return two_executors


class TestFullDisks(FullDisks):
    @pytest.fixture
    def stack(self, small_disks: MissionStack) -> MissionStack:
        return small_disks


def test_an_image_that_is_nowhere_is_told_how_to_build() -> None:
    stack = MissionStack(backend="containers").with_images(missions="missions-nowhere.invalid/missions:none")
    with pytest.raises(SetupError, match="docker build -f deploy/Dockerfile"):
        stack.start()
