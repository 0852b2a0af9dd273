"""The stack as tests and the demo use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from missions.readiness import NotReady
from missions.service_process import ServiceProcess
from missions.stack import Stack
from tests.support.eventually import eventually_sync
from tests.support.somebody import somebody_ready
from tests.support.up import completes, eventually_dead, is_alive, without_error

pytestmark = pytest.mark.timeout(120)


class Events:
    """What a stack reported."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.how = ""

    def __call__(self, event: str, /, **values: Any) -> None:
        self.heard.append((event, values["process"]))
        self.how = values.get("how", "")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def stack(tmp_path: Path, events: Events) -> Iterator[Stack]:
    with Stack(tmp_path, on_event=events) as stack:
        yield stack


def test_a_process_that_is_killed_comes_back_and_is_reported(stack: Stack, events: Events) -> None:
    before = stack.pids["executor"]
    stack.kill("executor")
    eventually_sync(lambda: stack.pids["executor"] not in ([0], before))
    stack.wait_ready()
    assert events.heard == [("process_ended", "executor")]
    assert events.how == "killed by SIGKILL"
    assert completes(stack.describe())


def test_a_process_that_is_to_stay_down_does_until_it_is_restarted(stack: Stack) -> None:
    stack.kill("whiteboard", stay_down=True)
    assert stack.pids["whiteboard"] == 0
    stack.restart("whiteboard")
    assert stack.pids["whiteboard"] > 0
    assert completes(stack.describe())


def test_a_process_that_is_restarted_is_another_at_the_same_place(stack: Stack, events: Events) -> None:
    before = stack.describe()
    for name in ("nats", "orchestrator", "executor", "whiteboard"):
        stack.restart(name)
    after = stack.describe()
    pids, pids_before = after.pop("pids"), before.pop("pids")
    assert all(pids[name] != pids_before[name] for name in pids)
    assert after == before
    assert events.heard == []
    eventually_sync(lambda: without_error(stack.whiteboard_url, stack.orchestrator_url))
    assert completes(stack.describe())


def test_a_paused_process_answers_when_it_is_resumed(stack: Stack) -> None:
    stack.pause("orchestrator")
    stack.resume("orchestrator")
    assert without_error(stack.orchestrator_url)


def test_everything_ends_also_what_is_paused(stack: Stack) -> None:
    pids = all_pids(stack)
    stack.pause("executor")
    stack.pause("nats")
    stack.stop()
    assert not any(is_alive(pid) for pid in pids)


def test_kill_all_ends_everything(stack: Stack) -> None:
    pids = all_pids(stack)
    stack.kill_all()
    eventually_dead(pids)


def test_a_stack_that_was_stopped_can_be_started_again(stack: Stack) -> None:
    stack.stop()
    stack.start()
    assert completes(stack.describe())


def test_a_failed_start_leaves_nothing_and_shows_the_log(tmp_path: Path) -> None:
    goals = tmp_path / "goals.py"
    goals.write_text("raise RuntimeError('no goals today')")
    stack = Stack(tmp_path, goals=[str(goals)], on_event=Events())
    with pytest.raises(NotReady, match=r"executor did not start: .*no goals today") as failure:
        stack.start()
    assert "service_failed" in failure.value.log_tail
    assert all_pids(stack) == [0, 0, 0, 0]
    goals.write_text("from missions import goal\n@goal('one')\nasync def one() -> int: return 1\n")
    with stack:
        assert without_error(stack.whiteboard_url)


def test_a_port_that_somebody_takes_after_it_was_checked_is_not_called_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    with ExitStack() as strangers:

        def launch(process: ServiceProcess) -> None:
            if not taken:
                taken.append(process.port.number)
                strangers.enter_context(somebody_ready(process.port.number))
            start(process)

        start = ServiceProcess.start
        monkeypatch.setattr(ServiceProcess, "start", launch)
        with pytest.raises(NotReady, match=r"whiteboard did not start: port \d+ on 127.0.0.1 is in use") as failure:
            Stack(tmp_path).start()
    assert f"port {taken[0]}" in str(failure.value)


def test_a_package_called_services_where_it_is_started_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise RuntimeError('of somebody else')")
    monkeypatch.chdir(tmp_path)
    with Stack(tmp_path / "data") as stack:
        assert completes(stack.describe())


def test_credentials_of_another_broker_are_not_for_the_embedded_one(tmp_path: Path) -> None:
    foreign = {"MISSIONS_NATS_URL": "nats://127.0.0.1:1", "MISSIONS_NATS_CA": "/no/such/file"}
    with Stack(tmp_path, env=foreign) as stack:
        assert completes(stack.describe())


def all_pids(stack: Stack) -> list[int]:
    pids = stack.pids
    return [pids["nats"], pids["orchestrator"], pids["whiteboard"], *pids["executor"]]
