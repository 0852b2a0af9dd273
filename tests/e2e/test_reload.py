"""`missions up --reload`: what is saved is what runs next, and nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.support.eventually import eventually_sync
from tests.support.up import Up, get, is_alive, outcome, refused, running_up, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

GOALS = """
from missions import Context, goal
from helper import VERSION
import asyncio

@goal("version")
def version() -> int:
    return VERSION

@goal("slow")
async def slow(ctx: Context, seconds: float = 60) -> str:
    ctx.progress(0)
    await asyncio.sleep(seconds if VERSION == 1 else 0)
    return f"done by {VERSION}"
"""


class Watched(Up):
    """A stack that reloads; `talk` is what it has said on stderr."""

    def listen(self) -> None:
        self.talk: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.talk.extend(line.rstrip() for line in iter(self.process.stderr.readline, ""))

    def said(self, text: str) -> str:
        """Wait for a line with this text."""
        try:
            return eventually_sync(lambda: next((line for line in list(self.talk) if text in line), ""), 60)
        except AssertionError:
            pytest.fail(f"{text!r} was not said, but {self.talk}")

    def result(self, text: str) -> object:
        return outcome(self.ready["whiteboard_url"], say(self.ready["orchestrator_url"], text))["result"]


@contextmanager
def reloading(folder: Path, *options: str) -> Iterator[Watched]:
    """Run a stack on the goals of a folder."""
    (folder / "helper.py").write_text("VERSION = 1\n")
    (folder / "goals.py").write_text(GOALS)
    goals = ["--goals", str(folder / "goals.py"), "--reload", *options]
    with running_up(folder / "data", *goals, PYTHONPATH=f"{folder}:{Path.cwd()}") as up:
        watched = Watched.__new__(Watched)
        watched.process, watched.ready = up.process, up.ready
        watched.listen()
        yield watched


def status(board: str, mission_id: str) -> object:
    """Return the status of a mission, or nothing before the whiteboard has heard of it."""
    try:
        return get(f"{board}/missions/{mission_id}")["status"]
    except HTTPError:
        return None


def test_a_save_is_taken_a_broken_one_is_not_and_what_runs_goes_on(tmp_path: Path) -> None:
    with reloading(tmp_path) as up:
        board = up.ready["whiteboard_url"]
        slow = say(up.ready["orchestrator_url"], "/run slow")
        eventually_sync(lambda: status(board, slow) == "active", 30)
        eventually_sync(lambda: up.result("/run version") == 1, 30)

        (tmp_path / "goals.py").write_text(GOALS + "\n@goal('new')\ndef new(n: int = 'x'): ...\n")
        assert up.said("goals.py is not taken, the executors go on as they were:")
        assert up.said(f"{tmp_path / 'goals.py'}:16: the default of n, 'x'")
        assert up.result("/run version") == 1

        (tmp_path / "goals.py").write_text(GOALS.replace('"version"', '"which"'))
        assert up.said("reloaded goals.py: new which; gone version")
        assert up.result("/run which") == 1

        (tmp_path / "helper.py").write_text("VERSION = 2\n")
        assert up.said("reloaded helper.py: the same kinds")
        assert up.result("/run which") == 2

        mission = outcome(board, slow)
        assert (mission["status"], mission["result"]) == ("completed", "done by 2")
        assert mission["attempt"] > 1
        assert up.end(signal.SIGINT)[0] == 130


def test_ctrl_c_in_the_middle_of_a_reload_ends_everything(tmp_path: Path) -> None:
    with reloading(tmp_path, "--executors", "2") as up:
        pids = up.pids
        (tmp_path / "helper.py").write_text("VERSION = 2\n")
        eventually_sync(lambda: not all(map(is_alive, pids)), 60)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 130
        assert not any("Traceback" in line for line in up.talk)
        eventually_sync(lambda: not any(map(is_alive, pids)), 20)


def test_reload_without_goals_says_what_is_missing(tmp_path: Path) -> None:
    code, said = refused("up", "--data-dir", str(tmp_path), "--reload")
    assert code == 2
    assert "--reload needs --goals" in said
