"""What holds when a disk is full, wherever the parts run: one suite, inherited once for each backend that can fill one.

A subclass gives a fixture `stack`, started, with a small disk for the broker and for the whiteboard.
"""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from contracts.errors import MaybeStored
from missions.testing import MissionStack, Unsupported
from tests.support.eventually import eventually

#: More than a page, so that none fits into what is left of the last one.
LONG = "x" * 8_000


class FullDisks:
    """The suite."""

    async def test_a_whiteboard_without_room_is_red_still_answers_and_goes_on_by_itself(
        self, stack: MissionStack
    ) -> None:
        before = stack.run("/run echo text=before")
        stack.fill_disk("whiteboard")
        missions: list[str] = []

        def is_red() -> bool:
            missions.append(stack.say(f"/run echo text={LONG}"))
            return status(f"{stack.whiteboard_url}/readyz") == 503

        await eventually(is_red, within_s=30)
        assert stack.mission(before.mission_id) == before
        stack.free_disk("whiteboard")
        assert [stack.wait(mission_id, "completed").result for mission_id in missions] == [LONG] * len(missions)
        await eventually(lambda: status(f"{stack.whiteboard_url}/readyz") == 200, within_s=30)
        stack.assert_one_outcome()
        stack.assert_journal_equals_stream()

    def test_a_broker_without_room_acknowledges_nothing_and_loses_nothing_that_it_did(
        self, stack: MissionStack
    ) -> None:
        acknowledged = [stack.run("/run echo text=before").mission_id]
        stack.fill_disk("nats")
        with pytest.raises(MaybeStored):
            say_on(stack, acknowledged)
        refused = f"full-{len(acknowledged)}"
        stack.free_disk("nats")
        stack.restart("nats")
        acknowledged.append(stack.say(f"/run echo text={LONG}", id=refused))
        for mission_id in acknowledged:
            stack.wait(mission_id, "completed")
        stack.assert_legal_history()
        stack.assert_one_outcome()
        stack.assert_journal_equals_stream()

    def test_mend_makes_room_and_a_broker_that_writes(self, stack: MissionStack) -> None:
        stack.fill_disk("nats")
        stack.fill_disk("whiteboard")
        stack.mend()
        assert stack.run(f"/run echo text={LONG}").result == LONG
        stack.assert_journal_equals_stream()

    def test_only_what_keeps_something_has_a_disk(self, stack: MissionStack) -> None:
        with pytest.raises(Unsupported, match="nats and whiteboard"):
            stack.fill_disk("executor")


def say_on(stack: MissionStack, acknowledged: list[str]) -> None:
    """Say one thing after the other until the broker takes no more."""
    while True:
        acknowledged.append(stack.say(f"/run echo text={LONG}", id=f"full-{len(acknowledged)}"))


def status(url: str) -> int:
    """Return the HTTP status of an answer, whatever it is."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
