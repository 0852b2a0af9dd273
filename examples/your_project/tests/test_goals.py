"""The goals of this project, with real parts: a broker, an orchestrator, executors and a whiteboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from services.billing import price_of
from your_project import goals

from missions.testing import MissionsClient, MissionStack, check_goal


def test_a_price_needs_no_stack() -> None:
    assert price_of("apple", 2) == 50


def test_a_question_in_chat_is_answered(missions_stack: MissionStack) -> None:
    mission = missions_stack.run("what do 3 apple cost")
    assert mission.result == {"total": 75, "currency": "EUR"}


def test_a_goal_may_run_in_a_process_of_its_own(missions_stack: MissionStack) -> None:
    assert missions_stack.run("/run invoice.check article=pear").result is True


def test_what_is_not_sold_is_not_tried_again(missions_client: MissionsClient) -> None:
    mission = missions_client.run("/run invoice.total article=brick")
    assert (mission.status, mission.reason) == ("failed", "handler_rejected")
    assert mission.error is not None
    assert mission.error.message == "brick is not sold"


def test_an_invoice_keeps_the_contract_of_a_goal(missions_stack: MissionStack, tmp_path: Path) -> None:
    report = check_goal(
        goals.send,
        {"to": "ann", "folder": str(tmp_path)},
        on=missions_stack,
        effects=lambda: len(list(tmp_path.iterdir())),
    )
    assert report.cancel == "stopped: user"


@pytest.mark.missions_drill
def test_an_invoice_outlives_its_executor(missions_stack: MissionStack, tmp_path: Path) -> None:
    mission_id = missions_stack.say(f"/run invoice.send to=bob folder={tmp_path}")
    missions_stack.after_record(2, mission_id)
    missions_stack.kill("executor")
    missions_stack.restart("executor")
    assert missions_stack.wait(mission_id, "completed").attempt == 2
    assert len(list(tmp_path.iterdir())) == 1
    missions_stack.assert_legal_history()
    missions_stack.assert_one_outcome()
    missions_stack.assert_journal_equals_stream()
