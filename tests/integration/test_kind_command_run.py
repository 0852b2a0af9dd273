"""The kind `command` as an executor runs it: on the handlers' loop, with outcomes in the broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import SetupError
from contracts.messages import Goal
from services.executor.outside import programs
from services.executor.service import serve
from services.runtime.process import Stop
from tests.support.broker import connected
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.up import is_alive

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MISSIONS_COMMANDS", "sh=/bin/sh -c ...")
    programs.configured.cache_clear()
    yield
    programs.configured.cache_clear()


def pids_in(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


async def test_output_is_the_result(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        params = {"name": "sh", "args": ["cat; echo err >&2"], "stdin": "out\n"}
        goal = Goal(id="g", kind="command", params=params)
        outcome = await broker.outcome(await broker.propose(goal))
    assert outcome.status == "completed"
    assert outcome.result == {"exit_code": 0, "stdout": "out\n", "stderr": "err\n", "truncated": False}


async def test_a_timeout_ends_the_program_and_all_that_it_started(nats_url: str, tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! $$ > {tmp_path}/pids; wait"
    async with connected(nats_url) as broker, executing(broker.settings):
        goal = Goal(id="g", kind="command", params={"name": "sh", "args": [script]}, timeout_s=3)
        outcome = await broker.outcome(await broker.propose(goal))
        assert (outcome.status, outcome.reason) == ("failed", "handler_timeout")
        pids = pids_in(tmp_path / "pids")
        assert len(pids) == 2
        await eventually(lambda: not any(map(is_alive, pids)))


async def test_the_end_of_an_executor_ends_its_programs(nats_url: str, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {tmp_path}/pids; wait"
    async with connected(nats_url) as broker:
        async with executing(broker.settings):
            await broker.propose(Goal(id="g", kind="command", params={"name": "sh", "args": [script]}))
            pids = await eventually(lambda: pids_in(tmp_path / "pids"))
        await eventually(lambda: not any(map(is_alive, pids)))


async def test_settings_of_kinds_are_checked_at_the_start(nats_url: str) -> None:
    async with connected(nats_url, commands="a=ls") as broker:
        with pytest.raises(SetupError, match="MISSIONS_COMMANDS: 'ls' is not the absolute path"):
            await serve(broker.settings, Stop())
