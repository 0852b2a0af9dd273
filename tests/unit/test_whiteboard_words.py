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


@pytest.mark.parametrize("text", ["boom", "full disk", "handler_error"])
def test_a_mission_is_found_by_what_came_of_it_once_it_is_over(text: str) -> None:
    assert not words.has_words(view_of(ASKED), words.asked(text))
    assert words.has_words(view_of(ASKED, FAILED), words.asked(text))


def test_before_it_is_over_the_terms_of_a_mission_never_change() -> None:
    steps = [ASKED, change(1, Status.ACTIVE), change(1, Status.WAITING), change(1, Status.ACTIVE, attempt=2)]
    assert len({words.document(view_of(*steps[: number + 1])) for number in range(len(steps))}) == 1


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_two_values_of_an_attribute_share_a_term_and_no_word_is_one(one: str, other: str) -> None:
    terms = words.term("kind", one), words.term("kind", other)
    assert (terms[0] == terms[1]) == (one == other)
    assert terms[0].isascii()
    assert terms[0] == terms[0].lower()
    assert " " not in terms[0]
    assert not set(terms) & set(words.words(one + " " + other))
