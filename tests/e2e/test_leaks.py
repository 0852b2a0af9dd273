"""Thousands of missions leave no thread, descriptor, process or memory behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.leaks import GOALS, footprint, measure
from missions.stack import Stack
from tests.support.eventually import eventually_sync

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


async def test_missions_leave_nothing_behind_wherever_their_handlers_run(tmp_path: Path) -> None:
    await asyncio.to_thread(check, tmp_path)


def check(data_dir: Path) -> None:
    with Stack(data_dir, goals=[str(GOALS)]) as stack:
        found = measure(stack, {"loop": 2_000, "thread": 2_000, "process": 200})
        before = found["before"][0]
        (pid,) = stack.pids["executor"]

        def is_as_before() -> bool:
            after = footprint(pid)
            return after.threads <= before.threads + 2 and after.descriptors <= before.descriptors + 2

        eventually_sync(is_as_before, within_s=20)
        after = footprint(pid)
        assert after.children == 1  # the zygote
        assert after.rss_mb - before.rss_mb < 20
