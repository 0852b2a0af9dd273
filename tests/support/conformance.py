"""What a `MissionStack` does, wherever its parts run: one suite, inherited once for each backend.

A subclass gives a fixture `stack`, started, whose goals are those of `kit_goals.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import NotFound, WaitOver
from missions import Context, goal
from missions.testing import MissionStack, UnexpectedStatus, Unsupported

KIT_GOALS = Path(__file__).with_name("kit_goals.py")


@goal("shout")
def shout(ctx: Context, text: str) -> str:
    return f"{text.upper()} {ctx.attempt}"


class Conformance:
    """The suite."""

    def test_what_is_said_is_done(self, stack: MissionStack) -> None:
        mission = stack.run("/run kit.greet name=Ann")
        assert (mission.status, mission.result, mission.attempt) == ("completed", "Hello, Ann!", 1)
        assert [goal.status for goal in mission.goals] == ["completed"]
        assert [record.status for record in stack.records(mission.mission_id)] == ["proposed", "active", "completed"]
        assert stack.mission(mission.mission_id) == mission

    def test_the_same_id_is_the_same_mission(self, stack: MissionStack) -> None:
        first, second = (stack.say("/run echo text=hi", id="evt-1") for _ in range(2))
        assert first == second
        assert stack.wait(first, "completed").result == "hi"

    def test_a_mission_is_waited_for_in_any_status(self, stack: MissionStack) -> None:
        mission_id = stack.say("/run sleep seconds=60")
        assert stack.wait(mission_id, "active").status == "active"
        stack.cancel(mission_id)
        assert stack.wait(mission_id, "cancelled").is_over

    def test_a_wrong_outcome_carries_all_that_explains_it(self, stack: MissionStack) -> None:
        mission_id = stack.say("/run fail message=boom")
        with pytest.raises(
            UnexpectedStatus, match=r"is failed \(handler_error: boom\), expected: completed"
        ) as failure:
            stack.wait(mission_id, "completed")
        notes = "\n".join(failure.value.__notes__)
        assert f"records of mission {mission_id}" in notes
        assert "handler_error" in notes
        assert "MISSIONS/executor-" in notes
        for name in stack.names:
            assert f"log of {name}" in notes
        assert "goal_failed" in notes

    def test_a_mission_that_never_comes_is_not_waited_for_for_ever(self, stack: MissionStack) -> None:
        with pytest.raises(WaitOver, match="unknown") as failure:
            stack.wait("a" * 26, seconds=0.2)
        assert "never proposed" in "\n".join(failure.value.__notes__)
        with pytest.raises(NotFound):
            stack.mission("a" * 26)

    def test_a_conversation_has_a_queue_and_goals_of_its_own(self, stack: MissionStack) -> None:
        with stack.conversation() as one, stack.conversation() as other:
            one.serve(shout)
            assert one.run("/run shout text=hi").result == "HI 1"
            assert one.run("/run kit.greet name=Ann").result == "Hello, Ann!"
            assert other.run("/run shout text=hi").reason == "unknown_kind"
            found = {talk.run("/run echo text=hi", id="evt-1").mission_id for talk in (one, other)}
        assert len(found) == 2

    async def test_an_async_test_has_a_client_of_its_own(self, stack: MissionStack) -> None:
        async with stack.client() as client:
            mission_id = await client.say("/run echo text=hi", queue=stack.backend.queue)
            assert (await client.wait(mission_id, seconds=20))["result"] == "hi"

    def test_an_executor_that_is_killed_in_the_middle_of_a_mission_is_replaced(self, stack: MissionStack) -> None:
        mission_id = stack.say("/run echo text=first\n/run sleep seconds=3\n/run echo text=last")
        stack.after_record(3, mission_id)
        stack.kill("executor")
        stack.restart("executor")
        mission = stack.wait(mission_id, "completed")
        assert mission.attempt == 2
        assert mission.goals[0].attempt == 1
        stack.assert_legal_history()
        stack.assert_one_outcome()

    def test_a_frozen_executor_goes_on_when_it_is_resumed(self, stack: MissionStack) -> None:
        stack.pause("executor")
        mission_id = stack.say("/run echo text=hi")
        stack.mend()
        assert stack.wait(mission_id, "completed").result == "hi"

    def test_the_journal_is_the_stream(self, stack: MissionStack) -> None:
        stack.run("/run echo text=hi")
        if not stack.backend.owns_broker:
            with pytest.raises(Unsupported):
                stack.assert_journal_equals_stream()
            return
        stack.assert_journal_equals_stream()

    def test_only_parts_of_the_stack_can_be_broken(self, stack: MissionStack) -> None:
        with pytest.raises(Unsupported, match="executor"):
            stack.kill("broker")


class OwnConformance(Conformance):
    """The suite of a stack that owns all of its parts."""

    @pytest.mark.parametrize("name", ["nats", "orchestrator", "whiteboard"])
    def test_every_part_may_be_killed_and_comes_back(self, stack: MissionStack, name: str) -> None:
        before = stack.run("/run echo text=before")
        stack.kill(name)
        stack.restart(name)
        assert stack.run("/run echo text=after").result == "after"
        assert stack.mission(before.mission_id) == before

    def test_chaos_loses_nothing(self, stack: MissionStack) -> None:
        missions = []
        with stack.chaos(seed=11, victims=["orchestrator", "executor", "whiteboard"], rounds=4) as chaos:
            missions += [stack.say(f"/run kit.greet name={number}") for number in range(10)]
            chaos.finish()
        assert chaos.done == list(chaos.plan)
        assert [stack.wait(mission_id, "completed").result for mission_id in missions] == [
            f"Hello, {number}!" for number in range(10)
        ]
        stack.assert_legal_history()
        stack.assert_one_outcome()
        stack.assert_journal_equals_stream()
