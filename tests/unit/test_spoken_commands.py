from __future__ import annotations

import pytest

from contracts.messages import ChatEvent, Command
from contracts.spoken import mission_commanded
from services.orchestrator.planners import slash, spoken
from services.orchestrator.verdict import Refused

ID = "wvpu2edw4rek7m2rerkyrmpnjv"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (f"/answer {ID} yes", Command(kind="answer", mission_id=ID, answer="yes")),
        (f"  /Answer  {ID}/g2   3 ", Command(kind="answer", mission_id=ID, answer=3, goal="g2")),
        (f"/answer {ID} two words", Command(kind="answer", mission_id=ID, answer="two words")),
        (f'/answer {ID} {{"a": [1]}}', Command(kind="answer", mission_id=ID, answer={"a": [1]})),
        (f"/cancel {ID}", Command(kind="cancel", mission_id=ID)),
        (f"/cancel {ID} wrong file", Command(kind="cancel", mission_id=ID, reason="wrong file")),
        (f"/retry {ID}", Command(kind="retry", mission_id=ID)),
    ],
)
def test_a_command_is_understood(text: str, command: Command) -> None:
    assert spoken.command_of(text) == command
    about = None if command.kind == "retry" else ID
    assert mission_commanded(ChatEvent(text=text)) == about


@pytest.mark.parametrize(
    "text",
    [
        "/answer",
        f"/answer {ID}",
        "/answer short yes",
        "/cancel",
        f"/cancel {ID}/g1",
        f"/retry {ID} now",
        f"/answer {ID}/a.b x",
    ],
)
def test_a_command_that_lacks_something_is_refused_with_an_example(text: str) -> None:
    refused = spoken.command_of(text)
    assert isinstance(refused, Refused)
    assert "Write it like this: /" in refused.asks


@pytest.mark.parametrize("text", ["/run echo", "answer me", "/answers x", "", "/"])
def test_any_other_text_is_none_of_them(text: str) -> None:
    assert spoken.command_of(text) is None
    assert mission_commanded(ChatEvent(text=text)) is None


def test_a_command_among_goals_is_pointed_out() -> None:
    refused = slash.plan(ChatEvent(text=f"/run echo\n/cancel {ID}"), None)  # type: ignore[arg-type]  # it looks at no kinds
    assert isinstance(refused, Refused)
    assert "stand alone" in refused.text
