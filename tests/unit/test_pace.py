from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.executor.reports.pace import Pace


def at_pace(*reached: tuple[float, float]) -> Pace:
    pace = Pace()
    for at, done in reached:
        pace.reached(done, at)
    return pace


def test_there_is_no_eta_before_there_is_a_pace() -> None:
    assert Pace().seconds_to(10, 0) is None
    assert at_pace((0, 1)).seconds_to(10, 0) is None
    assert at_pace((0, 1), (0.5, 2)).seconds_to(10, 0.5) is None
    assert at_pace((0, 1), (5, 1)).seconds_to(10, 5) is None


def test_the_rest_takes_as_long_as_the_pace_says() -> None:
    assert at_pace((0, 0), (10, 5)).seconds_to(20, 10) == 30
    assert at_pace((0, 0), (10, 5)).seconds_to(20, 25) == 15
    assert at_pace((0, 0), (10, 20)).seconds_to(20, 10) == 0


def test_the_pace_is_that_of_the_last_minute() -> None:
    slow_then_fast = [(float(second), second * 0.1) for second in range(0, 600, 5)]
    fast = [(600 + float(second), 60 + second * 10) for second in range(0, 120, 5)]
    left = at_pace(*slow_then_fast, *fast).seconds_to(2_000, 715)
    assert left is not None
    assert 70 <= left <= 90


def test_counting_from_the_start_again_is_a_new_pace() -> None:
    assert at_pace((0, 0), (10, 100), (11, 0)).seconds_to(100, 11) is None
    assert at_pace((0, 0), (10, 100), (11, 0), (21, 50)).seconds_to(100, 21) == 10


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e9, 1e9)), max_size=50), st.floats(-1e9, 1e9))
def test_an_eta_is_never_negative_whatever_was_said(reached: list[tuple[float, float]], total: float) -> None:
    reached.sort(key=lambda one: one[0])
    left = at_pace(*reached).seconds_to(total, 1e6)
    assert left is None or left >= 0
