"""A handler that is watched is still the handler that it was, and one that cannot be watched is refused."""

from __future__ import annotations

import pytest

from contracts.errors import SetupError
from missions import Context, goal
from missions.testing.probe import Probe, ResultLost
from services.executor.registry import Registry


@goal("count", retries=2, timeout=3, phrases=["count {text}"])
def count(ctx: Context, text: str = "a") -> int:
    """Count."""
    return len(text.split())


@goal("apart", isolation="process")
def apart() -> int:
    return 1


def test_a_watched_handler_is_declared_as_it_was() -> None:
    watched, plain = Registry(), Registry()
    watched.add(Probe(count).handler)
    plain.add(count)
    (one,), (other,) = watched, plain
    assert one.announcement("default") == other.announcement("default")
    assert (one.isolation, one.wants_context, one.retry) == (other.isolation, other.wants_context, other.retry)


def test_a_result_may_be_lost() -> None:
    probe = Probe(count)
    probe.loses_results = 1
    with pytest.raises(ResultLost):
        probe.keep(1)
    assert probe.keep(2) == 2
    assert probe.results == [1, 2]


def test_a_handler_in_a_process_of_its_own_is_refused() -> None:
    with pytest.raises(SetupError, match="without isolation"):
        Probe(apart)
