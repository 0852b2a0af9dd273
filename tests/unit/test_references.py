"""References in params: found, checked and resolved, whatever is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import references
from contracts.messages import Goal
from contracts.references import BadReference
from tests.support.unhurried import unhurried

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
PARAMS = st.dictionaries(st.text(), VALUES)
SHARDS = st.lists(st.sampled_from(["$", "{", "}", "${", "$${", "${g1}", "${g1.a.0}", "g1", ".", "x", " "])).map("".join)


def resolved(text: str, **results: Any) -> Any:
    return references.resolve({"p": text}, results)["p"]


def escaped(value: Any) -> Any:
    if isinstance(value, str):
        return references.escape(value)
    if isinstance(value, dict):
        return {name: escaped(member) for name, member in value.items()}
    return [escaped(member) for member in value] if isinstance(value, list) else value


@unhurried
@given(VALUES)
def test_a_text_that_is_a_reference_becomes_the_value_itself(value: Any) -> None:
    assert resolved("${g1}", g1=value) == value
    assert resolved("${g1.deep.1.down}", g1={"deep": [0, {"down": value}]}) == value


@unhurried
@given(VALUES)
def test_within_a_text_it_is_written_as_text(value: Any) -> None:
    written = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert resolved("<${g1}|${g1}>", g1=value) == f"<{written}|{written}>"


@unhurried
@given(PARAMS)
def test_what_is_escaped_means_itself(params: dict[str, Any]) -> None:
    assert references.resolve(escaped(params), {}) == params
    assert list(references.find(escaped(params))) == []


@unhurried
@given(SHARDS)
def test_any_text_is_escaped_and_means_itself(text: str) -> None:
    assert resolved(references.escape(text)) == text


@unhurried
@given(SHARDS)
def test_any_text_either_resolves_or_is_refused_with_its_place(text: str) -> None:
    try:
        found = list(references.find({"p": [text]}))
        references.resolve({"p": [text]}, {"g1": {"a": [1]}})
    except BadReference as error:
        assert str(error).startswith("param /p/0: ${")  # noqa: PT017 - either way is right
    else:
        assert {reference.goal for reference in found} <= {"g1"}


@unhurried
@given(PARAMS)
def test_params_without_an_opening_brace_are_left_alone(params: dict[str, Any]) -> None:
    if "${" not in repr(params):
        assert not references.present(params)
        assert references.resolve(params, {}) == params


def test_what_a_reference_brings_is_not_read_again() -> None:
    assert resolved("${g1}", g1="${g2}") == "${g2}"
    assert resolved("a ${g1}", g1="$${g2}") == "a $${g2}"


def test_references_are_found_at_any_depth_with_their_place() -> None:
    params = {"a": "${one}", "b": [{"c/d": "x ${two.rows.0} ${one}"}], "e": "$${no}", "${key}": 1}
    found = [(str(item.place), item.param, item.goal, item.path) for item in references.find(params)]
    assert found == [
        ("/a", "a", "one", ()),
        ("/b/0/c~1d", "b", "two", ("rows", "0")),
        ("/b/0/c~1d", "b", "one", ()),
    ]


@pytest.mark.parametrize("text", ["${", "${g1", "${}", "${ g1 }", "${g1.}", "${g1..a}", "${.a}", "${é}", "${g1{}}"])
def test_what_looks_like_a_reference_and_is_none_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(BadReference, match=r'param /p: .*for a literal "\$\{" write "\$\$\{"'):
        list(references.find({"p": text}))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("g1.b", "no b in g1, which is an object with a, text"),
        ("g1.a.2", "no 2 in g1.a, which is a list of 2"),
        ("g1.a.-1", "no -1 in g1.a, which is a list of 2"),
        ("g1.a.00", "no 00 in g1.a, which is a list of 2"),
        ("g1.text.x", "no x in g1.text, which is a text"),
        ("g1.a.0.x", "no x in g1.a.0, which is null"),
        ("g2", "that goal has no result"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path: str, says: str) -> None:
    with pytest.raises(BadReference) as caught:
        resolved(f"${{{path}}}", g1={"a": [None, True], "text": "t"})
    assert str(caught.value) == f"param /p: ${{{path}}}: " + (f"there is {says}" if path != "g2" else says)


def test_params_that_would_grow_without_end_are_refused() -> None:
    with pytest.raises(BadReference, match="more than 33554432 bytes"):
        references.resolve({"p": ["${g1}"] * 400}, {"g1": "x" * 90_000})
    with pytest.raises(BadReference, match="more than 33554432 bytes"):
        references.resolve({"p": "${g1}" * 400}, {"g1": "x" * 90_000})


@pytest.mark.parametrize(
    "params",
    [
        {"p": "${" * 100_000},
        {"p": "$" * 200_000 + "{"},
        {"p": "${" + "a" * 200_000},
        {"p": "${a." + "." * 200_000 + "}"},
        {"k" * 100_000: ["${a}"] * 30_000},
        {"p": "${a}" * 50_000},
    ],
)
def test_hostile_params_take_no_longer_than_others(params: dict[str, Any]) -> None:  # a quadratic way takes minutes
    try:
        list(references.find(params))
        references.resolve(params, {"a": "x"})
    except BadReference as error:
        assert len(str(error)) < 1_000  # noqa: PT017 - either way is right


def test_a_reference_is_a_need() -> None:
    goals = (
        Goal(id="a", kind="k"),
        Goal(id="b", kind="k", params={"x": ["${a.n}", "${a}"]}),
        Goal(id="c", kind="k", params={"x": "${b} ${a}"}, needs=("b",)),
    )
    assert [goal.needs for goal in references.with_needs(goals)] == [(), ("a",), ("b", "a")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${ghost.x}", "goal b: param /x/1: ${ghost.x}: there is no goal ghost in this mission"),
        ("${b}", "goal b: param /x/1: ${b}: a goal cannot use its own result"),
        ("${", "goal b: param /x/1: ${: a reference ends with a }"),
    ],
)
def test_a_reference_to_nothing_names_the_goal_the_param_and_what_to_write(text: str, says: str) -> None:
    goals = (Goal(id="a", kind="k"), Goal(id="b", kind="k", params={"x": ["", text]}))
    with pytest.raises(BadReference) as caught:
        references.with_needs(goals)
    assert str(caught.value) == f'{says}; for a literal "${{" write "$${{"'
