"""`MissionStack` in containers: our image, built from this tree, and the broker's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contracts.errors import SetupError
from missions.testing import MissionStack
from tests.support.conformance import KIT_GOALS, OwnConformance
from tests.support.full_disks import FullDisks

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

    def test_an_executor_that_was_cut_off_for_longer_than_its_lease_changes_nothing(self, stack: MissionStack) -> None:
        mission_id = stack.say("/run sleep seconds=5")
        stack.after_record(2, mission_id)
        stack.partition("executor")
        with stack.conversation() as talk:
            assert talk.run("/run echo text=hi").result == "hi"  # the others go on
        stack.heal("executor")
        assert stack.wait(mission_id).status == "completed"
        stack.assert_legal_history()
        stack.assert_one_outcome()

    def test_ports_outlive_a_restart(self, stack: MissionStack) -> None:
        before = (stack.nats_url, stack.whiteboard_url, stack.orchestrator_url)
        for name in stack.names:
            stack.restart(name)
        assert (stack.nats_url, stack.whiteboard_url, stack.orchestrator_url) == before
        assert stack.run("/run echo text=hi").result == "hi"


class TestFullDisks(FullDisks):
    @pytest.fixture
    def stack(self, small_disks: MissionStack) -> MissionStack:
        return small_disks


def test_an_image_that_is_nowhere_is_told_how_to_build() -> None:
    stack = MissionStack(backend="containers").with_images(missions="missions-nowhere.invalid/missions:none")
    with pytest.raises(SetupError, match="docker build -f deploy/Dockerfile"):
        stack.start()
