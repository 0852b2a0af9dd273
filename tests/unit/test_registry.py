"""What may be a goal, and how its params are checked."""

from __future__ import annotations

import runpy
import types
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.errors import SetupError
from services.executor.context import Context
from services.executor.loading import from_file, load_registry
from services.executor.registry import BadParams, Handler, Registry, goal


class Address(BaseModel):
    street: str
    number: int = 1


@goal("letters.send", retries=2, timeout=5, phrases=["write to {name}"])
async def send(ctx: Context, name: str, address: Address | None = None) -> str:
    """Send a letter.

    More text.
    """
    return f"{ctx.goal_id}: {name}"


@goal("plain")
def plain(a: int, b: str = "x") -> str:
    return b * a


def handler(function: Any) -> Handler:
    registry = Registry()
    registry.add(function)
    return next(iter(registry))


def test_a_marked_function_stays_callable() -> None:
    assert plain(2) == "xx"


def test_async_runs_on_the_loop_and_sync_in_a_thread() -> None:
    assert (handler(send).isolation, handler(send).wants_context) == ("loop", True)
    assert (handler(plain).isolation, handler(plain).wants_context) == ("thread", False)


def test_params_become_what_the_signature_says() -> None:
    arguments = handler(send).validate({"name": 12, "address": {"street": "Elm", "number": "3"}})
    assert arguments == {"name": "12", "address": Address(street="Elm", number=3)}


@pytest.mark.parametrize(
    ("params", "message"),
    [({}, "a: Field required"), ({"a": "x"}, "a: Input"), ({"a": 1, "bb": 2}, "no such param 'bb'; did you mean 'b'?")],
)
def test_bad_params_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParams, match=message.replace("?", r"\?")):
        handler(plain).validate(params)


def test_an_announcement_tells_what_the_orchestrator_needs() -> None:
    spec = handler(send).announcement("gpu")
    assert (spec.kind, spec.queue, spec.description) == ("letters.send", "gpu", "Send a letter.")
    assert spec.phrases == ("write to {name}",)
    assert set(spec.params_schema["properties"]) == {"name", "address"}


def test_the_same_kind_twice_is_refused_with_both_places() -> None:
    registry = Registry()
    registry.add(plain)
    registry.add(plain)

    @goal("plain")
    def other() -> None: ...

    with pytest.raises(SetupError, match=r"test_registry\.py:\d+: .*plain.*test_registry\.py:\d+"):
        registry.add(other)


def test_signatures_that_cannot_take_named_params_are_refused() -> None:
    @goal("bad")
    def bad(*args: int) -> None: ...

    with pytest.raises(SetupError, match=r"test_registry\.py:\d+.*\*args"):
        handler(bad)


def test_a_phrase_may_only_name_parameters() -> None:
    @goal("bad", phrases=["do {thing}"])
    def bad(other: str) -> None: ...

    with pytest.raises(SetupError, match="thing"):
        handler(bad)


@pytest.mark.parametrize("kind", ["", "a b", "a..b", "a.b.c.d.e", "é", "a\n"])
def test_a_kind_is_words_joined_by_dots(kind: str) -> None:
    @goal(kind)
    def fine() -> None: ...

    with pytest.raises(SetupError, match=r"one to four words .* such as 'report.build'"):
        handler(fine)


def test_a_kind_is_a_text_and_stands_in_brackets() -> None:
    with pytest.raises(SetupError, match=r'@goal needs the name of the kind: @goal\("bare"\)'):

        @goal  # type: ignore[arg-type]  # the mistake
        def bare() -> None: ...

    @goal(5)  # type: ignore[arg-type]  # the mistake
    def number() -> None: ...

    with pytest.raises(SetupError, match="kind 5: one to four words"):
        handler(number)


def test_goals_are_found_in_files_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    good, empty = tmp_path / "goals.py", tmp_path / "empty.py"
    good.write_text("from missions import goal\n@goal('mine')\ndef mine(n: int) -> int:\n    return n\n")
    empty.write_text("x = 1\n")
    assert "mine" in load_registry((str(good),)).kinds
    with pytest.raises(SetupError, match="no goals in"):
        load_registry((str(empty),))
    with pytest.raises(SetupError, match="no such goals file"):
        load_registry((str(tmp_path / "absent.py"),))


def test_what_goes_wrong_while_importing_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_this\n")
    with pytest.raises(SetupError, match="nothing_like_this"):
        load_registry((str(broken),))


def test_a_module_is_searched_for_marked_functions() -> None:
    module = types.ModuleType("made_up")
    module.__dict__.update(plain=plain, again=plain, other=3)
    registry = Registry()
    assert registry.add_module(module) == 2
    assert registry.kinds == ["plain"]


def test_params_may_be_called_like_a_method_of_the_model() -> None:
    @goal("shadows")
    def shadows(json: int, copy: str = "c") -> None: ...

    assert handler(shadows).validate({"json": 3}) == {"json": 3, "copy": "c"}


def test_the_decorator_without_its_kind_says_how_to_write_it(tmp_path: Path) -> None:
    bare = tmp_path / "bare.py"
    bare.write_text("from missions import goal\n@goal\ndef mine(): ...\n")
    with pytest.raises(SetupError, match=r'bare\.py:2: .*@goal\("mine"\)'):
        load_registry((str(bare),))


@pytest.mark.parametrize(
    ("known", "pending", "message"),
    [
        ({}, {"c"}, "no such param 'c'; it takes: a, b"),
        ({}, {"b"}, "a: Field required"),
        ({"a": "x"}, {"b"}, "a: Input"),
        ({"a": 1, "bb": 2}, {"b"}, "no such param 'bb'; did you mean 'b'?"),
    ],
)
def test_of_params_without_a_value_yet_the_names_are_checked(known: Any, pending: set[str], message: str) -> None:
    with pytest.raises(BadParams, match=message):
        handler(plain).check(known, frozenset(pending))


def test_params_without_a_value_yet_are_not_missing() -> None:
    handler(plain).check({"b": "x"}, frozenset({"a"}))
    handler(plain).check({}, frozenset({"a", "b"}))


def test_a_limit_that_cannot_be_meant_is_refused_with_its_place() -> None:
    @goal("mail", concurrency_key="{server}")
    def mail(host: str) -> None: ...

    with pytest.raises(SetupError, match=r"test_registry\.py:\d+: concurrency_key .* 'server'.*; there are: host"):
        Registry().add(mail)


def test_a_key_without_a_number_means_one_at_once() -> None:
    @goal("mail", concurrency_key="{host}")
    def mail(host: str) -> None: ...

    declared = handler(mail).limit
    assert declared is not None
    assert (declared.most, declared.key_of({"host": "a"})) == (1, "a")


def test_a_function_whose_file_was_imported_under_two_names_is_one_goal(tmp_path: Path) -> None:
    file = tmp_path / "goals_of_two_names.py"
    file.write_text("from missions import goal\n\n@goal('twin')\ndef twin() -> int:\n    return 1\n")
    one = from_file(file)
    other = runpy.run_path(str(file), run_name="another_name")
    registry = Registry()
    registry.add_module(one)
    registry.add(other["twin"])
    handler = registry.get("twin")
    assert handler is not None
    assert handler.function is other["twin"]


def test_what_is_no_goal_is_refused() -> None:
    with pytest.raises(SetupError, match=r"len.* is no goal: mark it with @goal"):
        Registry().add(len)


def test_a_mistake_is_placed_in_their_file_also_where_we_found_it(tmp_path: Path) -> None:
    file = tmp_path / "mistaken.py"
    file.write_text("from contracts import ids\n\nQUEUE = ids.check_token('two words', 'queue')\n")
    with pytest.raises(SetupError, match=rf"{file}:3: InvalidIdentifier: "):
        from_file(file)
