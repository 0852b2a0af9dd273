"""The transition table, over every pair of statuses."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import IllegalTransition
from contracts.lifecycle import CORE, TERMINAL, TRANSITIONS, Core, Status, advance, may_follow

EVERY_CURRENT: list[Status | None] = [None, *Status]

#: Written out by hand, so that a slip in the table shows.
LEGAL = {
    (None, "proposed"),
    ("proposed", "active"),
    ("proposed", "failed"),
    ("proposed", "cancelled"),
    ("proposed", "rejected"),
    ("active", "active"),
    ("active", "waiting"),
    ("active", "completed"),
    ("active", "failed"),
    ("active", "cancelled"),
    ("waiting", "active"),
    ("waiting", "waiting"),
    ("waiting", "failed"),
    ("waiting", "cancelled"),
}


@pytest.mark.parametrize(("current", "following"), list(product(EVERY_CURRENT, Status)))
def test_every_pair_is_as_written_by_hand(current: Status | None, following: Status) -> None:
    legal = (current, following) in LEGAL
    assert may_follow(current, following) is legal
    if legal:
        assert advance(current, following) is following
    else:
        with pytest.raises(IllegalTransition, match=str(following)):
            advance(current, following)


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(EVERY_CURRENT)
    assert set(CORE) == set(Status)


def test_terminal_is_final() -> None:
    assert {"completed", "failed", "cancelled", "rejected"} == TERMINAL
    assert all(not TRANSITIONS[status] for status in TERMINAL)


def test_every_status_can_be_reached_and_can_end() -> None:
    reached = {following for statuses in TRANSITIONS.values() for following in statuses}
    assert reached == set(Status)
    for status in Status:
        assert status in TERMINAL or TRANSITIONS[status] & (TERMINAL | {Status.ACTIVE})


@given(st.data())
def test_core_never_goes_back_on_any_legal_path(data: st.DataObject) -> None:
    order = {Core.PROPOSED: 0, Core.ACTIVE: 1, Core.COMPLETED: 2, Core.FAILED: 2}
    path: list[Status] = [Status.PROPOSED]
    while path[-1] not in TERMINAL and len(path) < 12:
        path.append(data.draw(st.sampled_from(sorted(TRANSITIONS[path[-1]]))))
    assert all(order[CORE[before]] <= order[CORE[after]] for before, after in pairwise(path))
