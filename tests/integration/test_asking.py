"""A goal asks a person: nothing is held while they think, and the answer finds its way back into the handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from contracts import codec, ids, subjects, topology
from contracts.lifecycle import Status
from contracts.messages import Answer, ChatEvent, Command, Goal, RetryPolicy, StatusRecord, now
from missions.testing import history
from services.executor.context import Context, QuestionExpired
from services.executor.registry import goal
from tests.support.broker import Broker, connected
from tests.support.eventually import eventually, eventually_sync
from tests.support.executing import executing
from tests.support.orchestrating import orchestrator
from tests.support.outcomes import shape

RUNS: list[int] = []


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS.clear()


@goal("buy")
def buy(ctx: Context, what: str = "bread") -> str:
    RUNS.append(ctx.attempt)
    return f"bought {what}" if ctx.ask(f"Buy {what}?", bool) else "left it"


@goal("buy.async")
async def buy_async(ctx: Context) -> str:
    RUNS.append(ctx.attempt)
    how = ctx.ask("How?", Literal["card", "cash"], key="how")
    many = ctx.ask("How many?", int, key="many")
    return f"{many} by {how}"


@pytest.fixture
async def broker(nats_url: str) -> AsyncIterator[Broker]:
    async with connected(nats_url) as broker, orchestrator(broker.settings):
        yield broker


async def answer(broker: Broker, mission_id: str, value: Any, event_id: str = "", **fields: Any) -> None:
    command = Command(kind="answer", mission_id=mission_id, answer=value, **fields)
    event = ChatEvent(id=event_id, conversation="ops", sender="ann", command=command)
    await broker.bus.publish_acked("chat.events.ops", codec.encode(event))


async def waiting(broker: Broker, mission_id: str, times: int = 1) -> StatusRecord:
    """Wait until a mission has begun to wait so often."""

    async def waits() -> StatusRecord | None:
        records = await broker.records(mission_id)
        asked = [record for record in records if (record.status, record.phase) == (Status.WAITING, "asking")]
        return asked[-1] if len(asked) == times and records[-1] is asked[-1] else None

    return await eventually(waits)


async def replies(broker: Broker, mission_id: str, count: int = 1) -> list[Any]:
    async def stored() -> list[Any] | None:
        subject = subjects.reply("*", mission_id, "question")
        found = await broker.bus.records(topology.CHAT, subject)
        return [codec.decode_reply(one.data) for one in found] if len(found) >= count else None

    return await eventually(stored)


async def test_a_mission_waits_for_its_answer_and_holds_nothing(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        mission_id = await broker.propose(Goal(id="g1", kind="buy"))
        asked = await waiting(broker, mission_id)
        assert asked.goal is not None
        assert asked.goal.question is not None
        assert (asked.goal.question.text, asked.goal.question.schema) == ("Buy bread?", {"type": "boolean"})
        await eventually(lambda: _idle(broker))
        [reply] = await replies(broker, mission_id)
        assert reply.text == f"Buy bread?\nAnswer: /answer {mission_id}/g1 yes | no"
        await answer(broker, mission_id, "yes")
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.result, outcome.attempt) == (Status.COMPLETED, "bought bread", 2)
        records = await broker.records(mission_id)
        assert shape(records) == ["active", "waiting/asking", "waiting/answered", "active/resumed", "completed"]
        assert records[2].goal is not None
        assert records[2].goal.answer == Answer(key="Buy bread?", value="yes", by="ann")
        assert RUNS == [1, 2]
        await assert_sound(broker)


async def _idle(broker: Broker) -> bool:
    return await broker.unacknowledged("executor-default") == 0


async def assert_sound(broker: Broker) -> None:
    records = [*await broker.bus.records(topology.MISSIONS, "missions.>")]
    history.assert_legal_history(records)


async def test_an_answer_that_does_not_fit_is_asked_for_again(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        mission_id = await broker.propose(Goal(id="g1", kind="buy"))
        await waiting(broker, mission_id)
        await answer(broker, mission_id, "perhaps")
        asked = await waiting(broker, mission_id, times=2)
        assert asked.goal is not None
        assert asked.goal.question is not None
        assert "valid boolean" in asked.goal.question.problem
        assert (await replies(broker, mission_id, 2))[1].text.startswith("That answer was not taken: ")
        await answer(broker, mission_id, False)
        assert (await broker.outcome(mission_id)).result == "left it"
        await assert_sound(broker)


async def test_an_async_goal_asks_one_thing_after_the_other_and_keeps_its_retries(broker: Broker) -> None:
    async with executing(broker.settings, buy_async):
        mission_id = await broker.propose(Goal(id="g1", kind="buy.async"))
        await waiting(broker, mission_id)
        await answer(broker, mission_id, "card")
        await waiting(broker, mission_id, times=2)
        await answer(broker, mission_id, 3)
        assert (await broker.outcome(mission_id)).result == "3 by card"
        assert RUNS == [1, 2, 3]


async def test_many_questions_are_no_poison_and_use_up_no_retries(nats_url: str) -> None:
    @goal("curious")
    def curious(ctx: Context) -> int:
        total: int = sum(ctx.ask(f"Number {number}?", int) for number in range(4))
        if not ctx.checkpoint():
            ctx.checkpoint("failed once")
            raise RuntimeError("once")
        return total

    async with (
        connected(nats_url, max_owners=2) as broker,
        orchestrator(broker.settings),
        executing(broker.settings, curious),
    ):
        retry = RetryPolicy(max_attempts=2, backoff_s=0)
        mission_id = await broker.propose(Goal(id="g1", kind="curious", retry=retry))
        for times in range(1, 5):
            await waiting(broker, mission_id, times)
            await answer(broker, mission_id, times)
        assert (await broker.outcome(mission_id)).result == 10


async def test_nobody_answers_in_time(broker: Broker) -> None:
    @goal("patient")
    def patient(ctx: Context, default: str | None = None, catches: bool = False) -> str:
        try:
            given = {} if default is None else {"default": default}
            return str(ctx.ask("Well?", expires=0.3, **given))
        except QuestionExpired:
            if catches:
                return "never mind"
            raise

    async with executing(broker.settings, patient):
        lost = await broker.propose(Goal(id="g1", kind="patient"))
        defaulted = await broker.propose(Goal(id="g1", kind="patient", params={"default": "no"}))
        caught = await broker.propose(Goal(id="g1", kind="patient", params={"catches": True}))
        outcome = await broker.outcome(lost)
        assert (outcome.status, outcome.reason) == (Status.FAILED, "question_expired")
        assert (await broker.outcome(defaulted)).result == "no"
        assert (await broker.outcome(caught)).result == "never mind"
        records = await broker.records(lost)
        assert records[2].goal is not None
        assert records[2].goal.answer == Answer(key="Well?", expired=True)


async def test_other_goals_run_to_their_end_before_the_mission_waits(broker: Broker) -> None:
    go = asyncio.Event()

    @goal("hold")
    def hold() -> str:
        eventually_sync(go.is_set)
        return "held"

    async with executing(broker.settings, buy, hold):
        mission_id = await broker.propose(Goal(id="a", kind="buy"), Goal(id="b", kind="hold"))
        await replies(broker, mission_id)
        go.set()
        await waiting(broker, mission_id)
        assert shape(await broker.records(mission_id)) == [
            "active", "active/asking", "active/goal_done", "waiting/asking",
        ]  # fmt: skip
        await answer(broker, mission_id, True)
        assert (await broker.outcome(mission_id)).result == {"a": "bought bread", "b": "held"}
        await assert_sound(broker)


async def test_an_answer_that_comes_while_others_run_is_taken_by_the_owner(broker: Broker) -> None:
    go = asyncio.Event()

    @goal("hold")
    def hold() -> str:
        eventually_sync(go.is_set)
        return "held"

    async with executing(broker.settings, buy, hold):
        mission_id = await broker.propose(Goal(id="a", kind="buy"), Goal(id="b", kind="hold"))
        await replies(broker, mission_id)
        await answer(broker, mission_id, True)
        await eventually(lambda: RUNS == [1, 2])  # at once, though the other goal still runs
        go.set()
        outcome = await broker.outcome(mission_id)
        assert (outcome.result, outcome.attempt) == ({"a": "bought bread", "b": "held"}, 1)
        records = await broker.records(mission_id)
        assert "waiting" not in [record.status for record in records]
        assert RUNS == [1, 2]
        await assert_sound(broker)


async def test_two_open_questions_are_answered_by_name_in_any_order(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        goals = [Goal(id=name, kind="buy", params={"what": name}) for name in ("milk", "salt")]
        mission_id = await broker.propose(*goals)
        await waiting(broker, mission_id)
        await answer(broker, mission_id, True, event_id="unnamed")
        refused = await _rejected(broker, "unnamed")
        assert refused.reason == "which_question"
        assert refused.error is not None
        assert "milk: Buy milk?" in refused.error.message
        await answer(broker, mission_id, True, goal="pepper", event_id="wrong")
        assert (await _rejected(broker, "wrong")).reason == "which_question"
        await asyncio.gather(
            answer(broker, mission_id, False, goal="salt"), answer(broker, mission_id, True, goal="milk")
        )
        outcome = await broker.outcome(mission_id)
        assert outcome.result == {"milk": "bought milk", "salt": "left it"}
        await assert_sound(broker)


async def _rejected(broker: Broker, event_id: str) -> StatusRecord:
    return await broker.outcome(ids.mission_id("ops", event_id))


async def test_the_first_of_two_answers_is_enough_to_go_on(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        goals = [Goal(id=name, kind="buy", params={"what": name}) for name in ("milk", "salt")]
        mission_id = await broker.propose(*goals)
        await waiting(broker, mission_id)
        await answer(broker, mission_id, True, goal="milk")
        await waiting(broker, mission_id, times=2)
        assert "active/goal_done" in shape(await broker.records(mission_id))
        await answer(broker, mission_id, True)
        assert (await broker.outcome(mission_id)).result == {"milk": "bought milk", "salt": "bought salt"}
        assert len(await replies(broker, mission_id, 2)) == 2
        await assert_sound(broker)


async def test_an_answer_said_twice_counts_once_and_a_late_one_is_refused(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        mission_id = await broker.propose(Goal(id="g1", kind="buy"))
        await waiting(broker, mission_id)
        for _ in range(3):
            await answer(broker, mission_id, True, event_id="once")
        assert (await broker.outcome(mission_id)).result == "bought bread"
        assert RUNS == [1, 2]
        await answer(broker, mission_id, False, event_id="late")
        assert (await _rejected(broker, "late")).reason == "no_question"
        await assert_sound(broker)


@pytest.mark.parametrize("said", ["/answer {id} yes", "/ANSWER {id}/g1  true"])
async def test_a_person_answers_in_the_chat(broker: Broker, said: str) -> None:
    async with executing(broker.settings, buy):
        mission_id = await broker.propose(Goal(id="g1", kind="buy"))
        await waiting(broker, mission_id)
        await broker.bus.publish_acked("chat.events.ops", said.format(id=mission_id).encode())
        assert (await broker.outcome(mission_id)).result == "bought bread"


async def test_a_waiting_mission_is_cancelled_and_its_answer_comes_too_late(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        mission_id = await broker.propose(Goal(id="g1", kind="buy"))
        await waiting(broker, mission_id)
        await broker.bus.publish_acked("chat.events.ops", f"/cancel {mission_id} too dear".encode())
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.CANCELLED, "user")
        await answer(broker, mission_id, True, event_id="late")
        assert (await _rejected(broker, "late")).reason == "no_question"


async def test_answer_and_cancel_race_and_the_broker_decides(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        missions = [await broker.propose(Goal(id="g1", kind="buy")) for _ in range(20)]
        for mission_id in missions:
            await waiting(broker, mission_id)
        cancels = (broker.bus.publish_acked("chat.events.ops", f"/cancel {one}".encode()) for one in missions)
        await asyncio.gather(*(answer(broker, one, True) for one in missions), *cancels)
        outcomes = [await broker.outcome(mission_id) for mission_id in missions]
        assert {outcome.status for outcome in outcomes} <= {Status.COMPLETED, Status.CANCELLED}
        await assert_sound(broker)


async def test_a_deadline_ends_a_mission_that_waits(broker: Broker) -> None:
    async with executing(broker.settings, buy):
        event = ChatEvent(id="e", conversation="ops", text="/run buy", deadline_s=1)
        await broker.bus.publish_acked("chat.events.ops", codec.encode(event))
        mission_id = ids.mission_id("ops", "e")
        await waiting(broker, mission_id)
        outcome = await broker.outcome(mission_id)
        assert (outcome.status, outcome.reason) == (Status.FAILED, "deadline_exceeded")
        assert outcome.at >= now().replace(year=2000)


async def test_a_question_of_a_task_group_leaves_its_handler_too(broker: Broker) -> None:
    @goal("grouped")
    async def grouped(ctx: Context) -> str:
        async def ask() -> str:
            return str(ctx.ask("In a group?"))

        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask())
        return task.result()

    async with executing(broker.settings, grouped):
        mission_id = await broker.propose(Goal(id="g1", kind="grouped"))
        await waiting(broker, mission_id)
        await answer(broker, mission_id, "indeed")
        assert (await broker.outcome(mission_id)).result == "indeed"


async def test_a_handler_that_swallows_exceptions_still_asks(broker: Broker) -> None:
    @goal("careless")
    def careless(ctx: Context) -> str:
        try:
            return str(ctx.ask("Really?"))
        except Exception:  # noqa: BLE001 - the point
            return "swallowed"

    async with executing(broker.settings, careless):
        mission_id = await broker.propose(Goal(id="g1", kind="careless"))
        await waiting(broker, mission_id)
        await answer(broker, mission_id, "yes")
        assert (await broker.outcome(mission_id)).result == "yes"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"question": " "}, "1 to 4000"),
        ({"question": "x" * 4001}, "1 to 4000"),
        ({"question": "?", "expires": -1}, "expires"),
    ],
)
async def test_a_question_that_cannot_be_asked_fails_its_goal(
    broker: Broker, arguments: dict[str, Any], problem: str
) -> None:
    @goal("odd")
    def odd(ctx: Context) -> None:
        ctx.ask(**arguments)

    async with executing(broker.settings, odd):
        outcome = await broker.outcome(await broker.propose(Goal(id="g1", kind="odd")))
        assert outcome.reason == "handler_error"
        assert outcome.error is not None
        assert problem in outcome.error.message
