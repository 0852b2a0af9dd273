"""What is wrong with a goal is said before it is needed, with file and line, and all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import SetupError
from services.executor.declaring.signature import Mistakes
from services.executor.loading import load_registry

HEAD = """from dataclasses import dataclass
from typing import Annotated, AsyncIterator
from pydantic import BaseModel, Field
from missions import Context, goal
"""


def mistakes_in(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "goals.py"
    path.write_text(HEAD + text)
    with pytest.raises(Mistakes) as caught:
        load_registry((str(path),))
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("@goal('k')\ndef f(n: int = 'x'): ...", 5, "the default of n, 'x', is not what it may be: Input should be"),
        ("@goal('k')\ndef f(n: int = None): ...", 5, "the default of n, None"),
        ("@goal('k')\ndef f(n: Annotated[int, Field(ge=3)] = 1): ...", 5, "the default of n, 1"),
        ("@goal('k')\ndef f(n: list[int] = Field(default_factory=lambda: 1 / 0)): ...", 5, "the default of n cannot"),
        ("@goal('k')\nasync def f() -> AsyncIterator[int]:\n    yield 1", 5, "f yields"),
        ("@goal('k')\ndef f():\n    yield 1", 5, "f yields"),
        ("@goal('k')\nclass F: ...", 5, "the class F is no goal"),
        ("class F:\n    @goal('k')\n    def f(self): ...", 6, "F.f is a method"),
        ("class F:\n    @goal('k')\n    @staticmethod\n    def f(): ...", 6, "F.f is a method"),
        ("class F:\n    @classmethod\n    @goal('k')\n    def f(cls): ...", 6, "F.f is a method"),
        ("@goal('k')\ndef f(_x: int): ...", 5, "underscore: _x"),
        ("@goal('k')\ndef f(x: 'Nothing'): ...", 5, "an annotation cannot be read"),
        ("class C: ...\n@goal('k')\ndef f(x: C): ...", 6, "params of 'k' cannot be checked"),
        ("@goal('k', phrases=['do {'])\ndef f(): ...", 5, "without its }"),
        ("@goal('k', phrases=['do {}'])\ndef f(): ...", 5, "names ''"),
        ("@goal('k', phrases='do it')\ndef f(): ...", 5, "phrases='do it': a list"),
        ("@goal('k', retries=-1)\ndef f(): ...", 5, "retries=-1"),
        ("@goal('k', retries='3')\ndef f(): ...", 5, "retries='3'"),
        ("@goal('k', timeout=0)\ndef f(): ...", 5, "timeout=0"),
        ("@goal('k', timeout='1m')\ndef f(): ...", 5, "timeout='1m'"),
        ("@goal('k', backoff=float('nan'))\ndef f(): ...", 5, "backoff=nan"),
        ("@goal('k', max_backoff=-1)\ndef f(): ...", 5, "max_backoff=-1"),
        ("@goal('a')\ndef f(): ...\n@goal('b')\ndef f(): ...", 7, "f hides goal kind 'a' of "),
        ("@goal('k')\ndef f(): ...\n@goal('k')\ndef g(): ...", 7, "goal kind 'k' twice"),
    ],
)
def test_a_mistake_is_said_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    (mistake,) = mistakes_in(tmp_path, text)
    assert mistake.startswith(f"{tmp_path / 'goals.py'}:{line}: ")
    assert said in mistake


def test_all_mistakes_of_one_goal_are_said_at_once(tmp_path: Path) -> None:
    text = """
@goal("bad name!", retries=-1, isolation="moon", phrases=["say {what}"])
def broken(*names: str) -> None: ...
"""
    found = mistakes_in(tmp_path, text)
    for said in ("kind 'bad name!'", "retries=-1", "moon", "*args: params are named"):
        assert sum(said in mistake for mistake in found) == 1, (said, found)
    assert not any("contracts" in mistake for mistake in found)


def test_all_mistakes_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    text = """
@goal("one", timeout=-1, retries=-1)
def one(): ...
@goal("two", phrases=["do {x}"])
def two(n: int = "many", *args: int): ...
@goal("three", phrases=["do {x}"])
def three(n: int = "many"): ...
"""
    found = [mistake.rpartition("goals.py:")[2].partition(": ") for mistake in mistakes_in(tmp_path, text)]
    assert [(line, said.partition("=")[0].split()[0]) for line, _, said in found] == [
        ("6", "retries"), ("6", "timeout"), ("8", "a"), ("8", "phrase"), ("10", "phrase"), ("10", "the"),
    ]  # fmt: skip


def test_defaults_that_fit_are_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "goals.py"
    path.write_text(
        HEAD
        + """
class Size(BaseModel):
    width: int = 1
@goal("fine")
def fine(ctx, a: int, size: Size = Size(), tags: list[str] = [], n: float = 1, j: int = Field(2, alias="json")): ...
"""
    )
    handler = load_registry((str(path),)).get("fine")
    assert handler is not None
    assert set(handler.validate({"a": 1})) == {"a", "size", "tags", "n", "j"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef broken(:\n", r"goals\.py:2: SyntaxError"),
        ("def inner():\n    return 1 / 0\ninner()\n", r"goals\.py:2: ZeroDivisionError"),
        ("import nothing_like_this\n", r"goals\.py:1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", r"goals\.py:2: SystemExit"),
    ],
)
def test_a_file_that_does_not_load_is_named_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "goals.py"
    path.write_text(text)
    with pytest.raises(SetupError, match=said):
        load_registry((str(path),))
