"""Handlers in this process that are asked to stop: who hears it is over, who does not is detached, and counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.executor.context import Context
from services.executor.executor import Place
from services.executor.isolation.loop import HandlerLoop
from services.executor.isolation.thread import HandlerThreads
from services.executor.registry import goal
from tests.support.eventually import eventually, eventually_sync
from tests.support.placed import Trial, registry_of

started, go = threading.Event(), threading.Event()


@goal("t.watchful")
def watchful(ctx: Context) -> str:
    started.set()
    eventually_sync(lambda: ctx.cancelled, within_s=20)
    return "stopped by itself"


@goal("t.deaf")
def deaf() -> None:
    started.set()
    go.wait(20)


@goal("l.obedient")
async def obedient() -> None:
    started.set()
    await asyncio.sleep(600)


@goal("l.deaf")
async def deaf_loop() -> None:
    started.set()
    while not go.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue


REGISTRY = registry_of(watchful, deaf, obedient, deaf_loop)


@pytest.fixture(params=["t", "l"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, Place]]:
    started.clear()
    go.clear()
    place = HandlerThreads(4) if request.param == "t" else HandlerLoop()
    yield request.param, place
    go.set()
    place.close()


def begin(place: Place, kind: str, grace_s: float) -> Trial:
    return Trial(place, REGISTRY, kind, {}, grace_s)


async def test_who_stops_within_the_grace_is_over(place: tuple[str, Place]) -> None:
    trial = begin(place[1], {"t": "t.watchful", "l": "l.obedient"}[place[0]], 20)
    await eventually(started.is_set)
    assert not (await trial.cancelled()).detached
    assert not +place[1].detached


async def test_who_does_not_is_detached_until_it_ends(place: tuple[str, Place]) -> None:
    kind = f"{place[0]}.deaf"
    trial = begin(place[1], kind, 0.05)
    await eventually(started.is_set)
    report = await trial.cancelled()
    assert report.detached
    assert place[1].detached[kind] == 1
    go.set()
    await eventually(lambda: place[1].detached[kind] == 0)
    assert not report.detached


async def test_a_second_cancel_does_not_cut_the_grace_short_but_a_shorter_grace_does(place: tuple[str, Place]) -> None:
    trial = begin(place[1], f"{place[0]}.deaf", 600)
    await eventually(started.is_set)
    trial.task.cancel()
    await eventually(lambda: trial.report.stopped)
    trial.task.cancel()
    await asyncio.sleep(0)
    assert not trial.task.done()
    trial.report.grace_s = 0
    assert (await trial.cancelled()).detached


async def test_a_handler_that_is_cancelled_before_it_began_is_over(place: tuple[str, Place]) -> None:
    if isinstance(place[1], HandlerLoop):
        place[1].ask(partial(go.wait, 1))
    trial = begin(place[1], {"t": "t.watchful", "l": "l.obedient"}[place[0]], 20)
    await asyncio.sleep(0)
    assert not (await trial.cancelled()).detached
