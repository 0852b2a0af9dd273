from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.lifecycle import Status
from contracts.messages import Failure, Goal
from services.whiteboard import words
from services.whiteboard.record import Record
from services.whiteboard.view import View, fold
from tests.support.recording import change, proposal, stream


def view_of(*messages: tuple[str, bytes]) -> View:
    view = fold(Record(note.seq, note.time, note.subject, note.data, b"") for note in stream(messages))
    assert view is not None
    return view


ASKED = proposal(1, Goal(id="a", kind="report.build", params={"to": "Zoë\n& Ann", "n": 42}), title="Grow Tea")
FAILED = change(
    1, Status.FAILED, attempt=0, reason="handler_error", error=Failure(type="Boom", message="disk 7 is full")
)


@pytest.mark.parametrize("text", ["tea", "GROW tea", "zoe", "zoë ann", "build", "42", "gro*", "to", "(tea) -grow*"])
def test_a_mission_is_found_by_what_was_asked_for(text: str) -> None:
    assert words.has_words(view_of(ASKED), words.asked(text))


def test_a_mission_is_found_by_its_id_and_by_the_start_of_it() -> None:
    view = view_of(ASKED)
    assert words.has_words(view, words.asked(view.mission_id.upper()))
    assert words.has_words(view, words.asked(f"tea {view.mission_id[:6]}*"))


@pytest.mark.parametrize("text", ["boom", "full disk", "handler_error"])
def test_a_mission_is_found_by_what_came_of_it_once_it_is_over(text: str) -> None:
    assert not words.has_words(view_of(ASKED), words.asked(text))
    assert words.has_words(view_of(ASKED, FAILED), words.asked(text))


def test_a_new_status_takes_its_term_away_and_brings_what_is_added() -> None:
    steps = [ASKED, change(1, Status.ACTIVE), change(1, Status.WAITING), change(1, Status.ACTIVE, attempt=2), FAILED]
    for number in range(1, len(steps)):
        before, after = view_of(*steps[:number]), view_of(*steps[: number + 1])
        left = [term for term in words.document(before).split() if term not in words.taken(before).split()]
        assert sorted(words.document(after).split()) == sorted([*left, *words.added(after).split()])


def test_no_more_words_are_searched_than_is_said_whatever_comes_of_a_mission() -> None:
    asked = " ".join(f"a{number}" for number in range(words.MOST_WORDS - 2))
    goal = Goal(id="a", kind="echo", params={"text": asked[: words.MOST_LETTERS]})
    ended = view_of(proposal(1, goal), change(1, Status.COMPLETED, result={"more": " ".join("xyz" * 300)}))
    assert len(words.document(ended).split()) <= words.MOST_WORDS + 8


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_two_values_of_an_attribute_share_a_term_and_no_word_is_one(one: str, other: str) -> None:
    terms = words.term("kind", one), words.term("kind", other)
    assert (terms[0] == terms[1]) == (one == other)
    assert terms[0].isascii()
    assert terms[0] == terms[0].lower()
    assert " " not in terms[0]
    assert not set(terms) & set(words.words(one + " " + other))
