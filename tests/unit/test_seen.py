"""What a test is told of a mission is what the whiteboard answers."""

from __future__ import annotations

import msgspec
import pytest

from contracts.lifecycle import Core, Status
from contracts.messages import Failure
from missions.testing import Seen, SeenGoal
from missions.testing.seen import seen
from services.whiteboard.view import GoalView, View


@pytest.mark.parametrize(("ours", "theirs"), [(Seen, View), (SeenGoal, GoalView)])
def test_every_field_of_the_whiteboards_view_is_there(ours: type[msgspec.Struct], theirs: type[msgspec.Struct]) -> None:
    assert ours.__struct_fields__ == theirs.__struct_fields__


def test_what_is_shown_of_a_mission_says_first_what_became_of_it() -> None:
    told = View(
        mission_id="a" * 26,
        status=Status.FAILED,
        core=Core.FAILED,
        reason="handler_error",
        queue="default",
        conversation="ops",
        goals=(GoalView(id="g1", kind="echo", status="failed", attempt=1, params=msgspec.Raw(b'{"text": "hi"}')),),
        error=Failure(type="ValueError", message="no"),
        proposed_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:01Z",
        first_seq=1,
        seq=3,
    )
    mission = seen(msgspec.json.decode(msgspec.json.encode(told)))
    assert mission.goals[0].params == {"text": "hi"}
    assert repr(mission) == f"<failed (handler_error: no): mission {'a' * 26}, goals: g1 echo failed>"
    assert str(mission) == f"mission {'a' * 26} is failed (handler_error: no)"
