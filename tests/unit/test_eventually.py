"""The wait of the tests waits, and gives up."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually, eventually_sync


async def test_first_truthy_value_of_a_sync_condition_is_returned() -> None:
    values = iter([0, "", None, "there"])
    assert await eventually(lambda: next(values)) == "there"


async def test_async_condition_is_awaited() -> None:
    values = iter([0, 7])

    async def condition() -> int:
        return next(values)

    assert await eventually(condition) == 7


async def test_failure_names_the_last_value() -> None:
    with pytest.raises(AssertionError, match="the last value was 0"):
        await eventually(lambda: 0, within_s=0.01)


def test_sync_variant_waits_and_gives_up_alike() -> None:
    values = iter([False, True])
    assert eventually_sync(lambda: next(values))
    with pytest.raises(AssertionError, match=r"within 0\.01 s; the last value was \[\]"):
        eventually_sync(list, within_s=0.01)
