from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.messages import ChatEvent, Goal, KindSpec
from services.orchestrator.kinds import Kinds
from services.orchestrator.phrase import InvalidPhrase, compile_phrase, trim
from services.orchestrator.planners import phrases
from services.orchestrator.verdict import Refused


def plan(text: str, *specs: KindSpec) -> tuple[Goal, ...] | Refused | None:
    return phrases.plan(ChatEvent(id="1", text=text), Kinds.of(specs))


def match(phrase: str, text: str) -> dict[str, str] | None:
    return compile_phrase("k", phrase).match(trim(text))


GREET = KindSpec(kind="greet", phrases=("say hello to {name}",))


@pytest.mark.parametrize(
    "text",
    ["say hello to Ann", "Say Hello To Ann", "  say   hello\tto Ann  ", "say hello to Ann!", "… say hello to Ann?!"],
)
def test_a_phrase_matches_whatever_the_case_the_blanks_and_the_punctuation_around(text: str) -> None:
    assert plan(text, GREET) == (Goal(id="g1", kind="greet", params={"name": "Ann"}),)


@pytest.mark.parametrize("text", ["please say hello to Ann", "say hello to", "say hello", "say helloto Ann", ""])
def test_only_the_whole_text_matches(text: str) -> None:
    assert plan(text, GREET) is None


def test_captured_texts_keep_their_case_and_inner_blanks() -> None:
    assert match("say hello to {name}", 'SAY hello to  Ann  "B" 3') == {"name": 'Ann  "B" 3'}


@pytest.mark.parametrize(
    ("phrase", "text", "params"),
    [
        ("move {a} to {b}", "move x to y to z", {"a": "x", "b": "y to z"}),
        ("move {a} to {b}", "move to to to", {"a": "to", "b": "to"}),
        ("{a} and {b} please", "salt and pepper and oil please", {"a": "salt", "b": "pepper and oil"}),
        ("{what} now", "do it now now", {"what": "do it now"}),
        ("from {a}-{b}", "from 1-2-3", {"a": "1", "b": "2-3"}),
        ("what is 1+1 (really)", "What is 1+1 (really)?", {}),
        ("note {text}", "note first\nsecond", {"text": "first\nsecond"}),
        ("how are {who}?", "how are you", {"who": "you"}),
    ],
)
def test_placeholders_end_where_the_next_literal_first_fits(phrase: str, text: str, params: dict[str, str]) -> None:
    assert match(phrase, text) == params


def test_a_blank_capture_is_no_match() -> None:
    assert match("call({x})now", "call(  )now") is None


def test_the_longest_literal_wins() -> None:
    general = KindSpec(kind="general", phrases=("say {text}",))
    found = plan("say hello to Ann", general, GREET)
    assert isinstance(found, tuple)
    assert found[0].kind == "greet"


def test_two_equal_phrases_are_refused_and_both_listed() -> None:
    other = KindSpec(kind="wave", phrases=("say hello to {person}",))
    found = plan("say hello to Ann", GREET, other)
    assert isinstance(found, Refused)
    assert found.reason == "ambiguous"
    assert "greet" in found.text
    assert "wave" in found.text


def test_one_kind_on_two_queues_is_not_ambiguous() -> None:
    elsewhere = KindSpec(kind="greet", queue="gpu", phrases=GREET.phrases)
    assert isinstance(plan("say hello to Ann", GREET, elsewhere), tuple)


@pytest.mark.parametrize(
    "phrase", ["{a}{b} x", "{a}", "{a} {b}", "", "...", "say {a} and {a}", "say {1a}", "say {a", "say a}", "x {a.b}"]
)
def test_a_phrase_that_cannot_work_is_invalid_and_left_out(phrase: str) -> None:
    with pytest.raises(InvalidPhrase):
        compile_phrase("k", phrase)
    assert Kinds.of([KindSpec(kind="k", phrases=(phrase,))]).phrases == ()


def test_an_announcement_with_a_bad_kind_or_queue_is_left_out() -> None:
    assert Kinds.of([KindSpec(kind="a b"), KindSpec(kind="ok", queue="a.b"), KindSpec(kind="fine")]).queues == {
        "fine": frozenset({"default"})
    }


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("{a} x {b} x {c} x {d} x {e} y", "x " * 1_000),
        ("{a} {b} {c} {d} {e} {f} {g} {h}z", "a " * 1_000),
        ("a {b} c", "a" + " " * 1_998 + "b"),
        ("{a}a{b}a{c}a{d}!x", "a" * 2_000),
    ],
)
def test_no_text_makes_matching_backtrack_for_ever(phrase: str, text: str) -> None:
    assert match(phrase, text) is None


WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


@given(st.lists(WORD, min_size=1, max_size=4), st.data())
def test_a_text_made_from_a_phrase_matches_it(words: list[str], data: st.DataObject) -> None:
    names = [f"p{number}" for number in range(len(words))]
    phrase = " ".join(f"{word} {{{name}}}" for word, name in zip(words, names, strict=True))
    values = [data.draw(WORD) for _ in words]
    text = " ".join(f"{word} {value}" for word, value in zip(words, values, strict=True))
    assert match(phrase, text) is not None


def test_what_a_person_says_is_never_a_reference() -> None:
    assert plan("say hello to ${g1.secret}", GREET) == (Goal(id="g1", kind="greet", params={"name": "$${g1.secret}"}),)
