"""Plans of ten goals whose executor is killed at every step: what is finished is never run again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from contracts import codec
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, GoalRequest, StatusRecord
from tests.support.chatter import mission_id
from tests.support.drill import WITHIN_S, Drill, drill
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(180)

#: What each goal uses, and so needs.
NEEDS = {
    "a": "", "b": "a", "c": "a", "d": "bc", "e": "d", "f": "d", "g": "ef", "h": "g", "i": "g", "j": "hi",
}  # fmt: skip


class Plan:
    """A mission of ten goals, each of which leaves a line at its beginning, waits for its gate, and leaves another."""

    def __init__(self, drilled: Drill, folder: Path, step: str) -> None:
        self.step = step  #: the goal at which this mission is when the executor is killed
        self._drilled = drilled
        self._folder = folder
        self.event = ChatEvent(
            id=f"plan-{step}", goals=tuple(self._goal(name, needs) for name, needs in NEEDS.items()), max_parallel=3
        )

    def _goal(self, name: str, needs: str) -> GoalRequest:
        params = {
            "name": self._name(name),
            "folder": str(self._folder),
            "after": [f"${{{need}}}" for need in needs],
        }
        return GoalRequest(id=name, kind="step", params=params)

    def _name(self, goal: str) -> str:
        return f"{self.step}-{goal}"

    def result(self, goal: str = "j") -> str:
        """Return what a goal gives back when every reference was what it should be."""
        return f"{self._name(goal)}({','.join(self.result(need) for need in NEEDS[goal])})"

    def open(self, *goals: str) -> None:
        for goal in goals:
            (self._folder / self._name(goal)).touch()

    def begun(self, goal: str) -> int:
        """Count how often a goal was begun."""
        trace = self._folder / "trace"
        return trace.read_text().splitlines().count(f"began {self._name(goal)}") if trace.exists() else 0

    async def records(self) -> list[StatusRecord]:
        return [codec.decode_status(item.data) for item in await self._drilled.records(mission_id(self.event))]

    async def finished(self) -> list[str]:
        """Return the goals of which a record says that they are done."""
        return [record.goal.id for record in await self.records() if record.goal and record.phase == "goal_done"]


class Plans(list[Plan]):
    """A mission for every step: one kill meets each of them at another one."""

    def __init__(self, drilled: Drill, folder: Path) -> None:
        super().__init__(Plan(drilled, folder, step) for step in NEEDS)
        self._drilled = drilled
        self._runs: Counter[tuple[str, str]] = Counter()  #: of finished goals, when they were found to be

    async def kill(self) -> None:
        """Note what is finished, kill the executor, and start it again."""
        await self.note()
        self._drilled.stack.kill("executor", stay_down=True)
        await asyncio.to_thread(self._drilled.stack.restart, "executor")

    async def note(self) -> None:
        """Check that what was finished before did not run again, and note what is finished now."""
        for plan in self:
            for goal in await plan.finished():
                runs = plan.begun(goal)
                assert self._runs.setdefault((plan.step, goal), runs) == runs, f"{plan.step}-{goal} ran again"
        assert all(runs > 0 for runs in self._runs.values())

    async def until_begun(self, least: dict[str, int]) -> None:
        await eventually(lambda: all(plan.begun(plan.step) >= least[plan.step] for plan in self), WITHIN_S)

    async def until_finished(self) -> None:
        async def are_finished() -> bool:
            return all([plan.step in await plan.finished() for plan in self])

        await eventually(are_finished, WITHIN_S)


async def test_no_finished_goal_of_ten_runs_again_wherever_their_executor_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "drill"
    folder.mkdir()
    async with drill(tmp_path / "data", lease_s=1.0, MISSIONS_MAX_OWNERS="100") as drilled:
        plans = Plans(drilled, folder)
        drilled.acknowledged += [plan.event for plan in plans]
        await drilled.client.say_many([plan.event for plan in plans])
        for plan in plans:
            plan.open(*(goal for goal in NEEDS if goal < plan.step))

        await plans.until_begun(dict.fromkeys(NEEDS, 1))
        runs = {plan.step: plan.begun(plan.step) for plan in plans}
        await plans.kill()  # while the goal of each step runs
        await plans.until_begun({step: count + 1 for step, count in runs.items()})

        for plan in plans:
            plan.open(plan.step)
        await plans.until_finished()
        await plans.kill()  # after the record of each step
        stored = await drilled.stored()

        for plan in plans:
            plan.open(*NEEDS)
        await drilled.until_stored(stored + 20)
        await plans.kill()  # wherever they are
        await drilled.verify()
        await plans.note()
        outcomes = {plan.step: (await plan.records())[-1] for plan in plans}
    for plan in plans:
        outcome = outcomes[plan.step]
        assert (outcome.status, outcome.result) == (Status.COMPLETED, plan.result())
    assert {outcomes[step].attempt >= 3 for step in "abcdefghi"} == {True}
