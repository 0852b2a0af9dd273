"""Turns: who may run now, in what order, and what is left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor import turns as module
from services.executor.declaring.limits import BadLimit, Limit, limit
from services.executor.turns import Turns
from tests.support.eventually import eventually
from tests.support.unhurried import unhurried


async def nobody_cares() -> None:
    """Say nothing."""


class Desk:
    """Tries that note when they come and stay until they are let go."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.here: list[str] = []
        self.came: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}
        self.keys: dict[str, str] = {}

    async def visit(self, name: str, key: str, most: int) -> None:
        self.doors[name], self.keys[name] = asyncio.Event(), key
        async with self.turns.turn("kind", key, most, nobody_cares):
            self.came.append(name)
            self.here.append(name)
            try:
                await self.doors[name].wait()
            finally:
                self.here.remove(name)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_first_runs_first_and_never_too_many() -> None:
    desk = Desk()
    visits = [asyncio.create_task(desk.visit(f"v{n}", "", 2)) for n in range(5)]
    await settle()
    for n in range(5):
        assert desk.here == [f"v{m}" for m in range(n, min(n + 2, 5))]
        desk.doors[f"v{n}"].set()
        await settle()
    await asyncio.gather(*visits)
    assert desk.came == [f"v{n}" for n in range(5)]
    assert len(desk.turns) == 0


async def test_keys_do_not_wait_for_each_other_and_leave_nothing_behind() -> None:
    desk = Desk()
    visits = [asyncio.create_task(desk.visit(f"v{n}", f"k{n}", 1)) for n in range(3)]
    await settle()
    assert desk.here == ["v0", "v1", "v2"]
    assert len(desk.turns) == 3
    for door in desk.doors.values():
        door.set()
    await asyncio.gather(*visits)
    assert len(desk.turns) == 0


async def end(desk: Desk, tasks: Iterable[asyncio.Task[None]]) -> None:
    await settle()
    for door in desk.doors.values():
        door.set()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


Moves = st.lists(st.tuples(st.sampled_from(["come", "go", "cancel"]), st.integers(0, 9)), max_size=40)


@unhurried
@given(Moves, st.integers(1, 3))
def test_however_visitors_come_go_and_are_cancelled_there_are_never_too_many(
    moves: list[tuple[str, int]], most: int
) -> None:
    async def play() -> None:
        desk = Desk()
        tasks: dict[str, asyncio.Task[None]] = {}
        for number, (move, who) in enumerate(moves):
            name = list(tasks)[who % len(tasks)] if tasks else ""
            if move == "come" or not name:
                tasks[f"v{number}"] = asyncio.create_task(desk.visit(f"v{number}", f"k{who % 2}", most))
            elif move == "cancel":
                tasks[name].cancel()
            elif name in desk.doors:
                desk.doors[name].set()
            if who % 3:
                await settle()
            running = Counter(desk.keys[name] for name in desk.here)
            assert max(running.values(), default=0) <= most
        await end(desk, tasks.values())
        assert len(desk.turns) == 0

    asyncio.run(play())


async def test_who_waits_long_says_so_once_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    turns, said, waited = Turns(), Counter[str](), []

    async def visit(name: str, gate: asyncio.Event) -> None:
        async def on_wait() -> None:
            said[name] += 1

        async with turns.turn("kind", "", 1, on_wait) as long:
            waited.append((name, long))
            await gate.wait()

    gate = asyncio.Event()
    visits = [asyncio.create_task(visit(name, gate)) for name in ("first", "second")]
    await eventually(lambda: said["second"] == 1)
    gate.set()
    await asyncio.gather(*visits)
    assert waited == [("first", False), ("second", True)]
    assert said == {"second": 1}


def test_a_key_is_made_of_params() -> None:
    assert limit(None, "", ["a"]) is None
    assert limit(3, "", ["a"]) == Limit(3)
    declared = limit(None, "{a}/{{x}}/{b}", ["a", "b", "c"])
    assert declared == Limit(1, "{a}/{{x}}/{b}")
    assert declared.key_of({"a": "t", "b": [1, {"c": None}], "c": object()}) == 't/{x}/[1,{"c":null}]'


@pytest.mark.parametrize(
    ("most", "key", "says"),
    [
        (0, "", "from 1"),
        (True, "", "from 1"),
        (1.5, "", "from 1"),
        (None, "{b}", "names 'b', which is no parameter; there are: a"),
        (1, "{a.x}", "only names"),
        (1, "{a!r}", "only names"),
        (1, "{a:>9}", "only names"),
        (1, "{}", "only names"),
        (1, "{a", "'{a'"),
        (1, 7, "it is a text"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(most: object, key: object, says: str) -> None:
    with pytest.raises(BadLimit, match=says):
        limit(most, key, ["a"])
