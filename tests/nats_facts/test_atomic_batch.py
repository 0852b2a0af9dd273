"""What an atomic batch is: all or nothing, one acknowledgement, and its limits."""

from __future__ import annotations

import asyncio
import json

import pytest
from nats.aio.msg import Msg

from tests.support.eventually import eventually
from tests.support.raw_nats import EXPECTED, MSG_ID, Raw, connected, error_code

FIRST = {EXPECTED: "0"}
MOST = 1_000
MOST_OPEN = 50


async def batching(nats: Raw) -> None:
    await nats.stream("S", "s.>", allow_atomic=True)


async def test_a_batch_is_acknowledged_once_with_its_size_and_the_sequence_of_its_last(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.publish("s.before")
        ack = await nats.batch("b", [(f"s.{n}", FIRST) for n in range(7)])
        assert (ack["seq"], ack["count"], ack["batch"]) == (8, 7, "b")
        for n in range(7):
            answer = await nats.api("STREAM.MSG.GET.S", {"last_by_subj": f"s.{n}"})
            assert answer["message"]["seq"] == 2 + n


async def test_one_wrong_expected_sequence_refuses_the_whole_batch(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.publish("s.3")
        answer = await nats.batch("b", [(f"s.{n}", FIRST) for n in range(7)])
        assert error_code(answer) == 10071
        assert await nats.messages("S") == 1


async def test_a_message_that_is_not_the_last_of_its_batch_gets_an_empty_answer(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        headers = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}
        assert (await nats.client.request("s.a", b"x", headers=headers)).data == b""
        with pytest.raises(json.JSONDecodeError):
            await nats.client.jetstream().publish("s.b", b"x", headers=headers | {"Nats-Batch-Sequence": "2"})


async def test_a_batch_that_is_not_committed_stores_nothing(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.open_batch("b", [("s.a", FIRST), ("s.b", FIRST)])
        assert (await nats.publish("s.c"))["seq"] == 1
        assert await nats.messages("S") == 1


@pytest.mark.parametrize("second", ["0", "1"])
async def test_a_message_that_is_compared_may_not_follow_another_one_of_its_subject_in_a_batch_and_that_is_10164(
    nats_url: str, second: str
) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        for number, first in enumerate((FIRST, {})):
            answer = await nats.batch(f"b{number}", [("s.a", first), ("s.a", {EXPECTED: second})])
            assert error_code(answer) == 10164
        assert await nats.messages("S") == 0


async def test_a_subject_may_stand_several_times_in_a_batch_where_the_later_ones_are_not_compared(
    nats_url: str,
) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        assert (await nats.batch("b", [("s.a", FIRST), ("s.a", {}), ("s.a", {})]))["count"] == 3


async def test_a_known_message_id_or_one_that_stands_twice_refuses_the_batch_with_10201(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.publish("s.a", headers={MSG_ID: "known"})
        for number, message_id in enumerate(("known", "twice")):
            headers = {MSG_ID: message_id}
            assert error_code(await nats.batch(f"b{number}", [("s.b", headers), ("s.c", headers)])) == 10201
        assert await nats.messages("S") == 1


async def test_a_message_id_that_came_in_a_batch_is_known_afterwards(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.batch("b", [("s.a", {MSG_ID: "e"}), ("s.b", {})])
        answer = await nats.publish("s.a", headers={MSG_ID: "e"})
        assert (answer["duplicate"], answer["seq"]) == (True, 1)


async def test_a_gap_in_a_batch_refuses_its_commit(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        await nats.open_batch("b", [("s.a", FIRST)])
        headers = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"}
        assert error_code(await nats.publish("s.c", headers=headers)) == 10176
        assert await nats.messages("S") == 0


async def test_a_batch_holds_a_thousand_messages_and_not_one_more(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        assert (await nats.batch("full", [(f"s.{n}", FIRST) for n in range(MOST)]))["count"] == MOST
        answer = await nats.batch("over", [(f"s.x.{n}", FIRST) for n in range(MOST + 1)])
        assert error_code(answer) == 10199
        assert await nats.messages("S") == MOST


async def test_fifty_batches_may_be_open_and_the_next_one_is_refused(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        for number in range(MOST_OPEN):
            await nats.open_batch(f"b{number}", [(f"s.{number}", FIRST)])
        headers = {"Nats-Batch-Id": "late", "Nats-Batch-Sequence": "1"}
        assert error_code(await nats.publish("s.late", headers=headers)) == 10210


async def test_batches_in_flight_side_by_side_do_not_mix(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        acks = await asyncio.gather(
            *(nats.batch(f"b{b}", [(f"s.{b}.{n}", FIRST) for n in range(20)]) for b in range(4))
        )
        assert sorted(ack["seq"] for ack in acks) == [20, 40, 60, 80]


async def test_a_stream_without_allow_atomic_refuses_batches(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.>")
        assert error_code(await nats.batch("b", [("s.a", {}), ("s.b", {})])) == 10174


async def test_a_guard_over_a_wildcard_does_not_see_the_other_messages_of_its_own_batch(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await batching(nats)
        guard = FIRST | {f"{EXPECTED}-Subject": "s.*.m1"}
        answer = await nats.batch("b", [("s.gpu.m1", guard), ("s.cpu.m1", guard)])
        assert error_code(answer) == 0
        assert await nats.messages("S") == 2


async def test_the_messages_of_a_batch_are_republished_with_their_subject_and_sequence(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        republish = {"src": "s.*.*", "dest": "s.{{wildcard(1)}}"}
        await nats.stream("S", "s.*.*", allow_atomic=True, republish=republish)
        seen: list[tuple[str, str]] = []

        async def on_message(message: Msg) -> None:
            headers = message.headers or {}
            seen.append((headers["Nats-Subject"], headers["Nats-Sequence"]))

        await nats.client.subscribe("s.fed", cb=on_message)
        await nats.client.flush()
        await nats.batch("b", [(f"s.fed.{n}", FIRST) for n in range(5)])
        await eventually(lambda: len(seen) == 5)
        assert seen == [(f"s.fed.{n}", str(n + 1)) for n in range(5)]
