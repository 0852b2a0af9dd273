"""Plans on a real broker: references, failures that others outlive, goals side by side, turns, queues."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import Field

from contracts.lifecycle import Status
from contracts.messages import Goal, RetryPolicy, StatusRecord, now
from services.executor import turns
from services.executor.context import Context
from services.executor.registry import goal
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually
from tests.support.executing import executing
from tests.support.outcomes import idle, run, shape


@goal("order")
def order(items: int = 2) -> dict[str, Any]:
    return {"id": 7, "lines": [{"sku": f"s{n}", "price": 1.5 + n} for n in range(items)], "note": "${literal}"}


@goal("total")
async def total(lines: list[dict[str, Any]], rate: Annotated[float, Field(ge=0)] = 1.0) -> float:
    return sum(float(line["price"]) for line in lines) * rate


def says(text: Any, goal_id: str = "say", **options: Any) -> Goal:
    return Goal(id=goal_id, kind="echo", params={"text": text}, **options)


def until_stopped(ctx: Context) -> None:
    """Wait as a handler in a thread does."""
    never = threading.Event()
    while not ctx.cancelled:
        never.wait(0.01)


def of(records: list[StatusRecord], goal_id: str) -> list[tuple[str, str, str]]:
    """Return what the records tell of a goal: phase, reason, status."""
    return [(item.phase, item.reason, item.goal.status) for item in records if item.goal and item.goal.id == goal_id]


def message(record: StatusRecord) -> str:
    assert record.error is not None
    return record.error.message


async def test_params_use_what_earlier_goals_gave_back(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, order, total):
        records = await run(
            broker,
            Goal(id="order", kind="order"),
            Goal(id="sum", kind="total", params={"lines": "${order.lines}", "rate": 2}, needs=("order",)),
            says("order ${order.id}: ${sum} for ${order.lines.1} $${sum} ${order.note}", needs=("order", "sum")),
        )
        assert shape(records) == ["active", *["active/goal_done"] * 3, "completed"]
        assert records[-1].result == 'order 7: 8.0 for {"sku":"s1","price":2.5} ${sum} ${literal}'


async def test_results_of_an_earlier_owner_are_used_as_well(nats_url: str) -> None:
    """The second attempt reads the first one's result from its record."""
    held = threading.Event()

    @goal("hold")
    def hold(ctx: Context, lines: list[dict[str, Any]]) -> int:
        if not held.is_set():
            held.set()
            until_stopped(ctx)
        return len(lines)

    async with connected(nats_url) as broker:
        async with executing(broker.settings, order, hold) as stop:
            mission_id = await broker.propose(
                Goal(id="order", kind="order", params={"items": 3}),
                Goal(id="hold", kind="hold", params={"lines": "${order.lines}"}, needs=("order",)),
            )
            await eventually(held.is_set)
            stop.set()
        async with executing(broker.settings, order, hold):
            outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.result, outcome.attempt) == (Status.COMPLETED, 3, 2)


async def test_a_path_that_is_not_in_the_result_fails_the_goal_for_good(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, order):
        records = await run(
            broker,
            Goal(id="order", kind="order"),
            says("${order.lines.2.sku}", needs=("order",), retry=RetryPolicy(max_attempts=5)),
        )
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "bad_reference")
        assert message(records[-1]) == (
            "param /text: ${order.lines.2.sku}: there is no 2 in order.lines, which is a list of 2"
        )
        assert shape(records) == ["active", "active/goal_done", "failed"]


async def test_a_value_that_does_not_fit_fails_before_the_handler_runs(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, order, total):
        records = await run(
            broker,
            Goal(id="order", kind="order"),
            Goal(id="sum", kind="total", params={"lines": "${order.id}"}, needs=("order",)),
        )
        assert (records[-1].status, records[-1].reason) == (Status.FAILED, "bad_params")
        assert message(records[-1]).startswith("goal kind total: lines: Input should be a valid list")


@pytest.mark.parametrize(
    ("second", "reason", "words"),
    [
        (says("${ghost}"), "bad_reference", ["goal say", "/text", "no goal ghost", '"$${"']),
        (says("${say}"), "bad_reference", ["goal say", "/text", "own result"]),
        (says("${first}"), "bad_reference", ["goal say", "refer to first", "needs"]),
        (
            Goal(id="sum", kind="total", params={"rows": "${first}"}, needs=("first",)),
            "bad_params",
            ["'rows'; it takes: lines"],
        ),
        (Goal(id="sum", kind="total", params={"rate": "${first}"}, needs=("first",)), "bad_params", ["lines: Field"]),
        (
            Goal(id="sum", kind="total", params={"lines": "${first}", "rate": -1}, needs=("first",)),
            "bad_params",
            ["rate: Input"],
        ),
        (says("${first}", needs=("first", "later")), "bad_plan", ["say"]),
    ],
)
async def test_what_cannot_be_resolved_is_rejected_before_anything_runs(
    nats_url: str, second: Goal, reason: str, words: list[str]
) -> None:
    async with connected(nats_url) as broker, executing(broker.settings, total):
        records = await run(broker, says("x", "first"), second)
        assert (shape(records), records[0].reason) == (["rejected"], reason)
        assert [word for word in words if word not in message(records[0])] == []


async def test_a_literal_is_unwrapped_in_a_mission_of_one_goal_too(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(broker, says("$${HOME} $x $"))
        assert records[-1].result == "${HOME} $x $"


def failing(goal_id: str, text: str = "boom", **options: Any) -> Goal:
    return Goal(id=goal_id, kind="fail", params={"message": text, "times": 99}, **options)


async def test_where_the_mission_goes_on_what_does_not_need_the_failed_goal_is_done(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(
            broker,
            failing("bad", "first"),
            says("x", "after", needs=("bad",)),
            says("x", "later", needs=("after",)),
            says("y", "other"),
            failing("worse", "second", needs=("other",)),
            on_failure="continue",
        )
        assert (records[-1].status, records[-1].reason, message(records[-1])) == ("failed", "handler_error", "first")
        assert records[-1].goal is not None
        assert records[-1].goal.id == "bad"
        assert of(records, "bad")[0] == ("goal_done", "handler_error", "failed")
        assert of(records, "after") == of(records, "later") == [("goal_done", "need_not_met", "skipped")]
        assert of(records, "other") == [("goal_done", "", "completed")]
        assert of(records, "worse") == [("goal_done", "handler_error", "failed")]
        assert len(records) == 1 + 5 + 1
        await eventually(lambda: idle(broker))


async def test_a_skipped_goal_takes_along_what_refers_to_it_and_each_is_a_record(nats_url: str) -> None:
    async with connected(nats_url) as broker, executing(broker.settings):
        records = await run(
            broker,
            failing("maybe", optional=True),
            says("${maybe}", "user", needs=("maybe",)),
            says("fine", "other"),
        )
        assert (records[-1].status, records[-1].result) == (Status.COMPLETED, "fine")
        assert of(records, "user") == [("goal_done", "need_not_met", "skipped")]
        assert len(records) == 1 + 3 + 1


async def test_an_attempt_after_a_crash_keeps_failed_and_skipped_goals_as_they_are(nats_url: str) -> None:
    ran, held = Counter[str](), threading.Event()

    @goal("once")
    def once(name: str) -> None:
        ran[name] += 1
        raise RuntimeError(name)

    @goal("hold")
    def hold(ctx: Context) -> str:
        ran["hold"] += 1
        if ran["hold"] == 1:
            held.set()
            until_stopped(ctx)
        return "held"

    async with connected(nats_url) as broker:
        async with executing(broker.settings, once, hold) as stop:
            mission_id = await broker.propose(
                Goal(id="bad", kind="once", params={"name": "bad"}),
                says("x", "after", needs=("bad",)),
                Goal(id="maybe", kind="once", params={"name": "maybe"}, optional=True),
                Goal(id="hold", kind="hold"),
                on_failure="continue",
            )
            await eventually(lambda: held.is_set() and settled(broker, mission_id, 3))
            stop.set()
        async with executing(broker.settings, once, hold):
            outcome = await broker.outcome(mission_id)
        records = await broker.records(mission_id)
        assert (outcome.status, message(outcome), outcome.attempt) == (Status.FAILED, "bad", 2)
        assert ran == {"bad": 1, "maybe": 1, "hold": 2}
        for name in ("bad", "after", "maybe"):
            assert len([record for record in records[:-1] if record.goal and record.goal.id == name]) == 1


async def settled(broker: Broker, mission_id: str, goals: int) -> bool:
    records = await broker.records(mission_id)
    return [record.phase for record in records].count("goal_done") == goals


class Crowd:
    """Handlers that meet: how many were there at once, and of which key."""

    def __init__(self) -> None:
        self.here: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[int] = []

    async def stay(self, key: str, number: int = 0) -> int:
        self.order.append(number)
        for name in (key, "all"):
            self.here[name] += 1
            self.most[name] = max(self.most[name], self.here[name])
        try:
            await asyncio.sleep(0.02)
        finally:
            self.here[key] -= 1
            self.here["all"] -= 1
        return number


@pytest.mark.parametrize(("max_parallel", "setting", "most"), [(0, 3, 3), (2, 5, 2), (9, 4, 4)])
async def test_goals_side_by_side_are_limited(nats_url: str, max_parallel: int, setting: int, most: int) -> None:
    crowd = Crowd()

    @goal("meet")
    async def meet(number: int) -> int:
        return await crowd.stay("k", number)

    async with connected(nats_url, parallel_goals=setting) as broker, executing(broker.settings, meet):
        goals = [Goal(id=f"g{n}", kind="meet", params={"number": n}) for n in range(9)]
        records = await run(broker, *goals, max_parallel=max_parallel)
        assert records[-1].result == {f"g{n}": n for n in range(9)}
        assert crowd.most["all"] == most


async def test_tries_of_a_kind_wait_for_their_turn_by_key_in_order(nats_url: str) -> None:
    crowd = Crowd()

    @goal("invoice", concurrency_key="{customer}")
    async def invoice(number: int, customer: str = "nobody") -> int:
        return await crowd.stay(customer, number)

    async with connected(nats_url) as broker, executing(broker.settings, invoice):
        names = ["ann", "bob", "nobody"]
        missions = [
            await broker.propose(
                Goal(id="g", kind="invoice", params={"number": n} | ({"customer": names[n % 3]} if n % 3 < 2 else {}))
            )
            for n in range(12)
        ]
        for n, mission_id in enumerate(missions):
            assert (await broker.outcome(mission_id)).result == n
        assert {name: crowd.most[name] for name in names} == dict.fromkeys(names, 1)
        assert crowd.most["all"] > 1
        for part in range(3):
            mine = [n for n in crowd.order if n % 3 == part]
            assert mine == sorted(mine)


async def test_a_mission_whose_goal_does_not_wait_makes_three_records_and_one_that_does_says_so(nats_url: str) -> None:
    @goal("printer", concurrency=1, timeout=5)
    async def printer(seconds: float = 0) -> str:
        await asyncio.sleep(seconds)
        return "printed"

    async with connected(nats_url) as broker, executing(broker.settings, printer):
        first = await run(broker, Goal(id="g", kind="printer"))
        assert shape(first) == ["active", "completed"]
        slow = await broker.propose(Goal(id="g", kind="printer", params={"seconds": turns.PATIENCE_S * 2}))
        await eventually(lambda: broker.records(slow))
        second = await run(broker, Goal(id="g", kind="printer"))
        assert shape(second) == ["active", "active/queued", "active/started", "completed"]
        assert [(record.goal.status, record.goal.attempt) for record in second[1:3] if record.goal] == [
            ("queued", 0),
            ("active", 1),
        ]


async def test_waiting_for_a_turn_takes_no_time_of_the_goal_and_ends_with_the_deadline(nats_url: str) -> None:
    gate = threading.Event()

    @goal("printer", concurrency=1)
    def printer(page: str) -> str:
        if page == "first":
            gate.wait(20)
        return page

    async with connected(nats_url) as broker, executing(broker.settings, printer):
        first = await broker.propose(Goal(id="g", kind="printer", params={"page": "first"}))
        await eventually(lambda: broker.records(first))
        page = Goal(id="g", kind="printer", params={"page": "second"}, timeout_s=turns.PATIENCE_S * 0.9)
        second = await broker.propose(page)
        await eventually(lambda: queued(broker, second))  # by now it has waited for longer than it may run
        late = await run(broker, page, deadline=now() + timedelta(seconds=0.1))
        assert (late[-1].status, late[-1].reason) == (Status.FAILED, "deadline_exceeded")
        gate.set()
        for mission_id in (first, second):
            assert (await broker.outcome(mission_id)).status == Status.COMPLETED


async def queued(broker: Broker, mission_id: str) -> bool:
    return any(record.phase == "queued" for record in await broker.records(mission_id))


async def test_a_mission_waits_for_an_executor_of_its_queue(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        async with executing(broker.settings):
            waiting = await broker.propose(says("hi"), queue="gpu")
            await run(broker, says("the others are served"))
            assert await broker.records(waiting, "gpu") == []
        async with executing(broker.settings.model_copy(update={"queues": ("gpu",)})):
            assert (await broker.outcome(waiting)).result == "hi"


async def test_a_result_that_is_kept_apart_is_fetched_for_who_refers_to_it(nats_url: str) -> None:
    @goal("large")
    def large(size: int) -> dict[str, Any]:
        return {"text": "x" * size, "size": size}

    @goal("measure")
    def measure(text: str, whole: dict[str, Any], size: int) -> bool:
        return len(text) == len(whole["text"]) == size

    async with connected(nats_url) as broker, executing(broker.settings, large, measure):
        records = await run(
            broker,
            Goal(id="large", kind="large", params={"size": 1_000_000}),
            Goal(
                id="measure",
                kind="measure",
                params={"text": "${large.text}", "whole": "${large}", "size": "${large.size}"},
                needs=("large",),
            ),
        )
        assert records[-1].result is True
