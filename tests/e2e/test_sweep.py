"""A mission that is lost, on the whole stack: what the board says of it, and that it ends all the same."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import pytest

from missions.testing import MissionStack
from tests.support.eventually import eventually_sync
from tests.support.raw_nats import connected

pytestmark = pytest.mark.timeout(120)


async def acknowledge_next(nats_url: str) -> None:
    """Do what `nats consumer next MISSIONS executor-default --ack` does."""
    async with connected(nats_url) as nats:
        (item,) = await nats.pull("MISSIONS", "executor-default", within_s=20)
        await nats.client.publish(item.reply, b"+ACK")
        await nats.client.flush()


def test_a_mission_whose_work_item_an_operator_took_away_is_told_lost_put_back_and_done() -> None:
    with MissionStack().with_env(MISSIONS_SWEEP_EVERY_S="0.5", MISSIONS_LEASE_S="1") as stack:
        stack.kill("executor")
        mission_id = stack.say("/run echo text=hi")
        asyncio.run(acknowledge_next(stack.nats_url))
        stack.talk.until_journalled()

        def why() -> Any:
            with urllib.request.urlopen(f"{stack.whiteboard_url}/missions/{mission_id}/why", timeout=5) as answer:
                return json.load(answer)

        eventually_sync(lambda: "its work item is gone" in why()["summary"], within_s=20)
        eventually_sync(lambda: "nobody serves the queue" in why()["summary"], within_s=20)  # it is back
        stack.restart("executor")
        assert stack.wait(mission_id).result == "hi"
        assert any("was lost, and put back" in detail for detail in why()["details"])
        stack.assert_legal_history()
        stack.assert_one_outcome()
        stack.assert_journal_equals_stream()
