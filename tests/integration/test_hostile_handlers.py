"""Handlers that do what none should, in processes of their own, on a real broker: the executor goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from contracts.errors import SetupError
from contracts.lifecycle import Status
from contracts.messages import Goal, RetryPolicy
from services.executor import start_executor_background
from services.executor.registry import goal
from tests.support import hostile
from tests.support.broker import connected
from tests.support.documented import ROOT
from tests.support.executing import executing
from tests.support.outcomes import run, shape
from tests.support.placed import is_alive

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation='process' needs Linux"),
    pytest.mark.timeout(60),  # each is a process
]

REASONS = {
    "p.loops": "handler_timeout",
    "p.eats": "memory_limit",
    "p.prints.much": "output_limit",
    "p.exits": "handler_exit",
    "p.kills.itself": "handler_exit",
    "p.strange": "bad_result",
    "p.huge": "result_too_large",
    "p.garbles": "garbled",
}


async def test_whatever_they_do_each_mission_fails_with_its_reason_and_the_executor_goes_on(nats_url: str) -> None:
    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, *hostile.HOSTILE):
        base = Goal(id="g1", kind="p.raises", params={"which": "base"})
        missions = [run(broker, Goal(id="g1", kind=kind)) for kind in REASONS]
        *ends, bare = await asyncio.gather(*missions, run(broker, base))
        assert {kind: (end[-1].status, end[-1].reason) for kind, end in zip(REASONS, ends, strict=True)} == {
            kind: (Status.FAILED, reason) for kind, reason in REASONS.items()
        }
        assert (bare[-1].status, bare[-1].reason) == (Status.FAILED, "handler_exit")
        again = (await run(broker, Goal(id="g1", kind="p.add", params={"a": 2})))[-1]
        assert (again.status, again.result["sum"]) == (Status.COMPLETED, 3)


async def test_a_zygote_that_is_killed_is_a_reason_to_try_again(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url, lease_s=30) as broker, executing(broker.settings, *hostile.HOSTILE):
        attempted = Goal(
            id="g1",
            kind="p.kills.zygote",
            params={"file": str(tmp_path / "pid"), "times": 1},
            retry=RetryPolicy(max_attempts=2, backoff_s=0.01),
        )
        records = await run(broker, attempted)
        assert shape(records) == ["active", "active/backing_off", "completed"]
        assert records[1].reason == "worker_lost"


async def test_an_embedded_executor_runs_what_it_was_handed_in_processes(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        background = await asyncio.to_thread(start_executor_background, goals=[hostile.add], settings=broker.settings)
        done = (await run(broker, Goal(id="g1", kind="p.add", params={"a": 2})))[-1]
        assert done.result["sum"] == 3
        zygote = int(done.result["ppid"])
        assert is_alive(zygote)
        await asyncio.to_thread(background.stop)
        assert not is_alive(zygote)


async def test_an_embedded_executor_refuses_at_the_start_what_no_child_process_can_import(nats_url: str) -> None:
    @goal("inner", isolation="process")
    def inner() -> None: ...

    with pytest.raises(SetupError, match=r"test_hostile_handlers\.py:\d+: .*at the top of a module"):
        start_executor_background(goals=[inner])


async def test_a_script_runs_its_own_goals_in_processes(nats_url: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    async with connected(nats_url) as broker:
        mission_id = await broker.propose(Goal(id="g1", kind="of.a.script"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), env={**os.environ, "PYTHONPATH": str(ROOT), "MISSIONS_NATS_URL": nats_url}
        )
        outcome = await broker.outcome(mission_id)
        process.terminate()
        await process.wait()
        assert (outcome.status, outcome.result) == (Status.COMPLETED, "done")


SCRIPT = """
import asyncio
import os

from missions import goal
from services.executor import run_executor_with_timeout


@goal("of.a.script", isolation="process")
def of_a_script() -> str:
    return "done" if __name__ != "__main__" else "in the script itself"


if __name__ == "__main__":
    asyncio.run(run_executor_with_timeout(60, goals=[of_a_script]))
"""
