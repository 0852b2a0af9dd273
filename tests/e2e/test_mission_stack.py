"""`MissionStack` on processes, and attached to a stack that runs already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import SetupError
from missions.nats_server import NatsServer
from missions.readiness import NotReady
from missions.testing import MissionStack, Unsupported
from tests.support.conformance import KIT_GOALS, Conformance, OwnConformance
from tests.support.full_disks import FullDisks
from tests.support.partitions import Partitions

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def processes() -> Iterator[MissionStack]:
    with MissionStack(KIT_GOALS) as stack:
        yield stack


def started(stack: MissionStack) -> Iterator[MissionStack]:
    """Start a stack, where there can be one of its kind, and stop it."""
    try:
        stack.start()
    except Unsupported as error:
        pytest.skip(str(error))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def small_disks() -> Iterator[MissionStack]:
    yield from started(MissionStack().with_disk("nats").with_disk("whiteboard"))


class TestProcesses(OwnConformance):
    @pytest.fixture
    def stack(self, processes: MissionStack) -> MissionStack:
        return processes

    def test_a_process_that_no_relay_is_before_is_not_cut_off(self, stack: MissionStack) -> None:
        with pytest.raises(Unsupported, match=r'with_link\("executor"\)'):
            stack.partition("executor")
        with pytest.raises(Unsupported, match="nats as a process can be paused"):
            stack.partition("nats")
        with pytest.raises(Unsupported, match=r"no partition for nats, .*with_link"):
            stack.chaos(faults=("partition",))

    def test_a_disk_that_nothing_bounds_is_not_filled(self, stack: MissionStack) -> None:
        with pytest.raises(Unsupported, match=r'with_disk\("whiteboard"\)'):
            stack.fill_disk("whiteboard")


class TestFullDisks(FullDisks):
    @pytest.fixture
    def stack(self, small_disks: MissionStack) -> MissionStack:
        return small_disks


@pytest.fixture(scope="module")
def linked() -> Iterator[MissionStack]:
    yield from started(MissionStack(executors=2).with_link().with_disk("whiteboard"))


class TestPartitions(Partitions):
    @pytest.fixture
    def stack(self, linked: MissionStack) -> MissionStack:
        return linked


@pytest.mark.parametrize("reads", ["whiteboard", "broker"])
class TestAttached(Conformance):
    @pytest.fixture
    def stack(self, processes: MissionStack, reads: str) -> Iterator[MissionStack]:
        url = processes.whiteboard_url if reads == "whiteboard" else None
        with MissionStack.attach(processes.nats_url, url).with_goals(KIT_GOALS) as stack:
            yield stack


def test_a_bare_broker_needs_an_orchestrator_and_is_told_so(nats_server: NatsServer) -> None:
    with pytest.raises(SetupError, match="orchestrator=True"):
        MissionStack.attach(nats_server.url).start()
    with MissionStack.attach(nats_server.url, orchestrator=True) as stack:
        assert stack.names == ["orchestrator", "executor"]
        assert stack.run("/run echo text=hi").result == "hi"


async def test_a_stack_may_be_joined_where_an_event_loop_runs(processes: MissionStack) -> None:
    with MissionStack.attach(processes.nats_url) as stack:
        assert stack.run("/run echo text=hi").result == "hi"


def test_what_was_attached_takes_its_queue_away_again(processes: MissionStack) -> None:
    with MissionStack.attach(processes.nats_url) as stack:
        durable = f"executor-{stack.backend.queue}"
        stack.run("/run echo text=hi")
    with processes.conversation() as talk:
        notes = Exception()
        talk.explain(notes)
    assert not [note for note in notes.__notes__ if durable in note]


def test_the_disks_of_a_deployment_that_was_joined_are_left_alone(processes: MissionStack) -> None:
    with pytest.raises(Unsupported, match="joined"):
        MissionStack.attach(processes.nats_url).with_disk("nats").start()
    with MissionStack.attach(processes.nats_url) as stack, pytest.raises(Unsupported, match="joined"):
        stack.fill_disk("executor")


def test_only_a_service_has_a_link() -> None:
    with pytest.raises(Unsupported, match="with_link"):
        MissionStack().with_link("executor-2").start()
    with pytest.raises(Unsupported, match="joined"):
        MissionStack.attach("nats://127.0.0.1:1").with_link().start()


def test_a_small_disk_goes_with_its_stack_even_when_that_does_not_start() -> None:
    before = mounts()
    stack = MissionStack().with_disk("nats").with_disk("whiteboard").with_env(MISSIONS_NO_SUCH_SETTING="1")
    with pytest.raises(SetupError):  # `Unsupported` where this may not mount
        stack.start()
    assert mounts() == before


def mounts() -> set[str]:
    """Return what small disks are mounted."""
    table = Path("/proc/self/mounts")
    lines = table.read_text().splitlines() if table.exists() else []
    return {line for line in lines if line.startswith("missions ")}


def test_a_start_that_fails_shows_the_logs_and_leaves_nothing() -> None:
    stack = MissionStack().with_env(MISSIONS_NO_SUCH_SETTING="1")
    with pytest.raises(NotReady) as failure:
        stack.start()
    assert "MISSIONS_NO_SUCH_SETTING" in "\n".join(failure.value.__notes__)
    assert ".log" not in str(failure.value), "it is gone"
    assert not stack.is_started


def test_what_a_stack_cannot_be_is_said_with_what_it_can() -> None:
    with pytest.raises(SetupError, match=r"known: process, containers; MissionStack\.attach"):
        MissionStack(backend="docker").start()  # type: ignore[arg-type]  # that is the test
    with pytest.raises(SetupError, match="executors=0: a stack has at least one"):
        MissionStack().with_executors(0)
    with pytest.raises(SetupError, match=r"no such goals file: nope\.py") as failure:
        MissionStack("nope.py").start()
    assert not hasattr(failure.value, "__notes__"), "nothing ran that could have logged"


def test_executors_and_settings_are_as_asked() -> None:
    with MissionStack().with_executors(2).with_env(MISSIONS_GOAL_TIMEOUT_S="0.2") as stack:
        assert stack.names == ["nats", "orchestrator", "whiteboard", "executor", "executor-2"]
        assert stack.run("/run sleep seconds=60").reason == "handler_timeout"


def test_what_fails_inside_the_block_carries_the_logs() -> None:
    with pytest.raises(ZeroDivisionError) as failure, MissionStack():
        raise ZeroDivisionError
    assert "log of whiteboard" in "\n".join(failure.value.__notes__)
