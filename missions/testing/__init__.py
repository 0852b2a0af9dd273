"""Missions in your tests: real parts in seconds, faults on demand, and checks of what must hold whatever broke."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from missions.testing.backend import Unsupported
    from missions.testing.client import MissionsClient, UnexpectedStatus
    from missions.testing.goal_contract import GoalReport, check_goal
    from missions.testing.history import (
        assert_journal_equals_stream,
        assert_legal_history,
        assert_no_work_after_fence,
        assert_one_outcome,
    )
    from missions.testing.seen import Seen, SeenGoal
    from missions.testing.stack import MissionStack

__all__ = [
    "GoalReport",
    "MissionStack",
    "MissionsClient",
    "Seen",
    "SeenGoal",
    "UnexpectedStatus",
    "Unsupported",
    "assert_journal_equals_stream",
    "assert_legal_history",
    "assert_no_work_after_fence",
    "assert_one_outcome",
    "check_goal",
]

#: Loaded at the first use: a project that has the pytest plugin and no test of missions pays nothing for it.
_HOMES = {
    "GoalReport": "goal_contract",
    "MissionStack": "stack",
    "MissionsClient": "client",
    "Seen": "seen",
    "SeenGoal": "seen",
    "UnexpectedStatus": "client",
    "Unsupported": "backend",
    "assert_journal_equals_stream": "history",
    "assert_legal_history": "history",
    "assert_no_work_after_fence": "history",
    "assert_one_outcome": "history",
    "check_goal": "goal_contract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'missions.testing' has no attribute {name!r}")
    return getattr(import_module(f"missions.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
