from __future__ import annotations

from typing import Any

import pytest

from contracts.messages import ChatEvent, Goal
from services.orchestrator.kinds import Kinds
from services.orchestrator.planners import slash
from services.orchestrator.verdict import Refused


def goals(text: str) -> tuple[Goal, ...]:
    plan = slash.plan(ChatEvent(id="1", text=text), Kinds())
    assert isinstance(plan, tuple), plan
    return plan


def refused(text: str) -> Refused:
    plan = slash.plan(ChatEvent(id="1", text=text), Kinds())
    assert isinstance(plan, Refused), plan
    assert plan.reason == "bad_command"
    return plan


def params(text: str) -> dict[str, Any]:
    return goals(f"/run echo {text}")[0].params


def test_a_command_becomes_one_goal() -> None:
    only = goals("/run echo text=hi")
    assert only == (Goal(id="g1", kind="echo", params={"text": "hi"}),)


def test_a_text_without_slash_is_not_for_this_planner() -> None:
    assert slash.plan(ChatEvent(id="1", text="run echo"), Kinds()) is None
    assert slash.plan(ChatEvent(id="1"), Kinds()) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("x=hi", "hi"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ("x=3", 3),
        ("x=-1.5e3", -1500.0),
        ("x=true", True),
        ("x=null", None),
        ("x=truth", "truth"),
        ("x=01234", "01234"),
        ("x=NaN", "NaN"),
        ("x=1e400", "1e400"),
        ("x='3'", 3),
        ('x="3"', "3"),
        ("""x='"3"'""", "3"),
        ('x="two words"', "two words"),
        ("x='two words'", "two words"),
        ("x=two\\ words", "two words"),
        ("""x='{"a": [1, 2]}'""", {"a": [1, 2]}),
        ("x=[1,2]", [1, 2]),
        ('x={"a":"b c"}', {"a": "b c"}),
        ('x="line\\nline"', "line\nline"),
        ('x="a\\qb"', "a\\qb"),
        ('x="say \\"hi\\""', 'say "hi"'),
        ("""x=it"'"s""", "it's"),
        ('x="first\nsecond"', "first\nsecond"),
        ("x=Grüße", "Grüße"),
    ],
)
def test_values_are_json_where_they_parse_and_text_elsewhere(written: str, value: object) -> None:
    assert params(written) == {"x": value}


def test_several_lines_are_goals_in_order_each_needing_the_one_before() -> None:
    three = goals("/run a x=1\n\n  /RUN b.c\r\n/run d\n")
    assert [(goal.id, goal.kind, goal.needs) for goal in three] == [
        ("g1", "a", ()),
        ("g2", "b.c", ("g1",)),
        ("g3", "d", ("g2",)),
    ]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("/run echo text", 1, "text"),
        ("/run echo =x", 1, "=x"),
        ("/run echo a=1 a=2", 1, "a=2"),
        ("/run echo a=1\n/run echo 9a=1", 2, "9a=1"),
        ("/run", 1, "/run"),
        ("/run a..b", 1, "a..b"),
        ("/run echo.* x=1", 1, "echo.*"),
        ("/ruin echo", 1, "/ruin"),
        ("/run echo\necho again", 2, "echo"),
        ('/run echo text="open', 1, 'text="open'),
        ("/run echo text='", 1, "text='"),
        ("/run echo text=a\\", 1, "text=a\\"),
        ("/", 1, "/"),
    ],
)
def test_a_mistake_is_pointed_at_and_a_right_example_shown(text: str, line: int, word: str) -> None:
    verdict = refused(text)
    message, shown, mark = verdict.text.split("\n")
    assert message.startswith(f"Line {line}: ")
    start = mark.index("^")
    assert shown[start:] == word
    assert mark == " " * start + "^" * len(word)
    assert "/run" in verdict.asks


def test_the_example_is_itself_understood() -> None:
    assert goals(slash.EXAMPLE)[0].params == {"text": "two words", "times": 3}
    example = refused("/run report.build customer").asks.removeprefix("Write it like this: ")
    assert goals(example)[0].kind == "report.build"


def test_more_goals_than_a_mission_may_have_are_refused() -> None:
    assert "100" in refused("\n".join(["/run echo"] * 101)).text


def test_a_long_refusal_stays_short() -> None:
    assert len(str(refused("/run echo " + "x" * 60_000))) < 500


@pytest.mark.parametrize(
    "text",
    ['/run a x="' + "\\" * 60_000, "/run a x=" + "'" * 60_001, "/run a " + '"' * 60_001, "/run a " + "a=\\ " * 20_000],
)
def test_hostile_quoting_is_over_at_once(text: str) -> None:
    assert slash.plan(ChatEvent(id="1", text=text), Kinds()) is not None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("x=${g1.total}", "${g1.total}"),
        ("x='${g1.total}'", "${g1.total}"),
        ('x="about ${g1.total}, $${5}"', "about ${g1.total}, $${5}"),
        ("x='[\"${g1}\", 2]'", ["${g1}", 2]),
    ],
)
def test_a_reference_is_written_like_any_value(written: str, value: Any) -> None:
    assert params(written) == {"x": value}
