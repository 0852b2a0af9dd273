"""What a client lets be said: checked before it leaves, as every reader will check it."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import ContractError
from contracts.messages import GoalRequest
from missions.client import event_of
from missions.records import from_line


def test_an_event_keeps_what_it_was_given() -> None:
    event = event_of({"text": None, "goals": [GoalRequest(kind="echo"), {"kind": "sleep"}], "queue": None, "id": "e1"})

    assert [goal.kind for goal in event.goals] == ["echo", "sleep"]
    assert (event.id, event.queue, event.conversation) == ("e1", None, "default")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": None},
        {"text": "x", "conversation": "a.b"},
        {"text": "x", "queue": ">"},
        {"text": "x", "deadline_s": -1},
        {"text": "x", "colour": "red"},
        {"goals": [{"kind": "echo", "colour": "red"}]},
        {"goals": [{"kind": "echo", "params": {"x": object()}}]},
        {"text": "x" * 300_000},
        {"text": "x", "metadata": {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}},
    ],
)
def test_what_nobody_would_understand_is_not_said(fields: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        event_of(fields)


def test_a_line_that_is_no_record_is_our_own_error() -> None:
    with pytest.raises(ContractError):
        from_line(b'{"seq": 1')
