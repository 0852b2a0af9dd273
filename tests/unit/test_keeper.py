from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.errors import SetupError
from missions.keeper import Keeper
from tests.support.eventually import eventually_sync


class Sleeper:
    """A process that does nothing; `refuses` is how many of its next starts fail."""

    def __init__(self) -> None:
        self.refuses = 0
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None or self._process.poll() is not None:
            raise SetupError("not running")
        return self._process.pid

    def how_it_ended(self) -> str:
        return f"ended with {self._process and self._process.poll()}"

    def start(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise SetupError("not now")
        self._process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
        self.starts += 1

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Kept:
    """A keeper, what it keeps and what it reported."""

    def __init__(self) -> None:
        self.process = Sleeper()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.keeper = Keeper("sleeper", self.process, self.note, first_pause_s=0.02)

    def note(self, event: str, **values: Any) -> None:
        self.events.append((event, values))


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.keeper.release()
    kept.process.kill()
    assert kept.keeper.join(10)


def test_what_ends_is_started_again_after_a_pause_and_reported(kept: Kept) -> None:
    kept.keeper.start()
    os.kill(kept.process.pid, signal.SIGKILL)
    eventually_sync(lambda: kept.process.starts == 2)
    assert kept.events == [("process_ended", {"process": "sleeper", "how": "ended with -9", "again_in_s": 0.02})]
    assert kept.keeper.crashes == 1


def test_pauses_grow_while_it_keeps_ending(kept: Kept) -> None:
    kept.keeper.start()
    for starts in (2, 3):
        kept.keeper.kill()
        eventually_sync(lambda starts=starts: kept.process.starts == starts)  # type: ignore[misc]  # bound per turn
    assert [values["again_in_s"] for _, values in kept.events] == [0.02, 0.04]


def test_what_is_to_stay_down_does_until_it_is_restarted(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.kill(stay_down=True)
    eventually_sync(lambda: kept.events)
    assert kept.events == [("process_ended", {"process": "sleeper", "how": "ended with -9", "again_in_s": None})]
    kept.keeper.restart()
    assert kept.process.running
    assert kept.keeper.crashes == 0


def test_a_restart_is_another_process_at_once_and_no_event(kept: Kept) -> None:
    kept.keeper.start()
    before = kept.process.pid
    kept.keeper.restart()
    assert kept.process.pid != before
    assert kept.events == []


def test_a_first_start_that_fails_is_raised_and_not_repeated(kept: Kept) -> None:
    kept.process.refuses = 1
    with pytest.raises(SetupError, match="not now"):
        kept.keeper.start()
    assert kept.keeper.join(10)
    assert kept.process.starts == 0


def test_a_later_start_that_fails_is_reported_and_repeated(kept: Kept) -> None:
    kept.keeper.start()
    kept.process.refuses = 1
    kept.keeper.kill()
    eventually_sync(lambda: kept.process.starts == 2)
    assert [event for event, _ in kept.events] == ["process_ended", "process_not_started"]


def test_what_is_released_is_not_started_again(kept: Kept) -> None:
    kept.keeper.start()
    kept.keeper.release()
    assert not kept.keeper.join(0)
    kept.process.kill()
    assert kept.keeper.join(10)
    assert (kept.process.starts, kept.events) == (1, [])
