"""What the broker does with an expected last sequence: one winner per record, for ever."""

from __future__ import annotations

import asyncio

from tests.support.raw_nats import connected, error_code

GUARD = "Nats-Expected-Last-Subject-Sequence-Subject"


async def test_a_wrong_last_sequence_of_the_subject_is_refused_with_10071_and_stores_nothing(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        assert (await nats.publish_expecting("s.a", 0))["seq"] == 1
        for wrong in (0, 2):
            assert error_code(await nats.publish_expecting("s.a", wrong)) == 10071
        assert await nats.messages("S") == 1
        assert (await nats.publish_expecting("s.a", 1))["seq"] == 2


async def test_the_last_sequence_is_compared_per_subject_and_not_per_stream(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        await nats.publish("s.a")
        assert (await nats.publish_expecting("s.b", 0))["seq"] == 2
        assert error_code(await nats.publish_expecting("s.a", 2)) == 10071
        assert (await nats.publish_expecting("s.a", 1))["seq"] == 3


async def test_of_twenty_racing_writers_the_broker_lets_one_win(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        answers = await asyncio.gather(*(nats.publish_expecting("s.a", 0) for _ in range(20)))
        assert sorted(error_code(answer) for answer in answers) == [0] + [10071] * 19


async def test_another_subject_or_a_wildcard_can_be_the_one_that_is_compared(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*.*")
        seq = (await nats.publish("s.gpu.m1"))["seq"]
        for expected, code in ((0, 10071), (seq, 0)):
            answer = await nats.publish_expecting("s.cpu.m1", expected, {GUARD: "s.*.m1"})
            assert error_code(answer) == code


async def test_the_message_that_the_compared_sequence_names_may_stand_on_another_queue(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*.*")
        first = await nats.publish_expecting("s.gpu.m1", 0, {GUARD: "s.*.m1"})
        again = await nats.publish_expecting("s.cpu.m1", 0, {GUARD: "s.*.m1"})
        assert (error_code(first), error_code(again)) == (0, 10071)


async def test_a_subject_that_was_purged_accepts_expected_zero_again(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        await nats.publish("s.a")
        await nats.publish("s.b")
        assert error_code(await nats.publish_expecting("s.a", 0)) == 10071
        assert (await nats.api("STREAM.PURGE.S", {"filter": "s.a"}))["purged"] == 1
        assert (await nats.publish_expecting("s.a", 0))["seq"] == 3


async def test_deny_delete_refuses_to_take_a_single_record_out(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*", deny_delete=True)
        await nats.publish("s.a")
        assert "error" in await nats.api("STREAM.MSG.DELETE.S", {"seq": 1})
        assert await nats.messages("S") == 1


async def test_the_head_is_read_from_the_leader_by_subject_and_by_wildcard_and_is_10037_before_the_first(
    nats_url: str,
) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*.*")
        assert error_code(await nats.api("STREAM.MSG.GET.S", {"last_by_subj": "s.*.m1"})) == 10037
        await nats.publish("s.gpu.m1")
        await nats.publish("s.gpu.m2")
        for subject in ("s.gpu.m1", "s.*.m1"):
            answer = await nats.api("STREAM.MSG.GET.S", {"last_by_subj": subject})
            assert answer["message"]["seq"] == 1
