"""What holds when parts are cut off from the broker, wherever they run: one suite, inherited once for each backend.

A subclass gives a fixture `stack`, started, with two executors, parts that can be cut off, and a small disk for the
whiteboard.
"""

from __future__ import annotations

from missions.testing import MissionStack


class Partitions:
    """The suite."""

    def test_an_executor_that_was_cut_off_for_longer_than_its_lease_changes_nothing(self, stack: MissionStack) -> None:
        stack.pause("executor-2")
        mission_id = stack.say("/run sleep seconds=3")
        stack.after_record(2, mission_id)
        stack.partition("executor")
        stack.resume("executor-2")
        mission = stack.wait(mission_id, "completed")
        assert mission.attempt == 2
        stack.heal("executor")
        assert stack.run("/run echo text=hi").result == "hi"
        stack.assert_legal_history()
        stack.assert_one_outcome()

    def test_what_is_said_while_the_orchestrator_is_cut_off_is_done_afterwards(self, stack: MissionStack) -> None:
        stack.partition("orchestrator")
        mission_id = stack.say("/run echo text=hi")
        stack.mend()
        assert stack.wait(mission_id, "completed").result == "hi"

    def test_chaos_that_cuts_off_and_fills_disks_loses_nothing(self, stack: MissionStack) -> None:
        with stack.chaos(seed=3, faults=("partition", "fill_disk"), rounds=4) as chaos:
            missions = [stack.say(f"/run echo text={number}") for number in range(10)]
            chaos.finish()
        assert {fault.kind for fault in chaos.done} == {"partition", "fill_disk"}
        assert chaos.done == list(chaos.plan)
        assert [stack.wait(mission, "completed").result for mission in missions] == [str(n) for n in range(10)]
        stack.assert_legal_history()
        stack.assert_one_outcome()
        stack.assert_journal_equals_stream()
