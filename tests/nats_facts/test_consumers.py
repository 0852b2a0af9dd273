"""What a consumer promises, and what it does not: acknowledgements, resets, silence."""

from __future__ import annotations

from nats.aio.msg import Msg

from services.runtime import readers
from tests.support.eventually import eventually
from tests.support.raw_nats import Raw, connected

LEASE_S = 0.3


def seq(message: Msg) -> int:
    return message.metadata.sequence.stream


async def filled(nats: Raw, messages: int) -> None:
    await nats.stream("S", "s.*")
    for n in range(messages):
        await nats.publish(f"s.{n}")


async def test_an_ack_of_a_former_owner_takes_the_message_from_the_present_one(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 1)
        await nats.consumer("S", "c", ack_policy="explicit", ack_wait_s=LEASE_S)
        (first,) = await nats.pull("S", "c")
        (second,) = await nats.pull("S", "c")
        assert (first.metadata.num_delivered, second.metadata.num_delivered) == (1, 2)
        await nats.client.request(first.reply, b"+ACK", timeout=5)
        info = await nats.consumer_info("S", "c")
        assert (info["num_ack_pending"], info["num_pending"], info["ack_floor"]["stream_seq"]) == (0, 0, 1)


async def test_a_message_without_ack_comes_again_after_ack_wait_for_as_long_as_it_takes(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 1)
        await nats.consumer("S", "c", ack_policy="explicit", ack_wait_s=LEASE_S, max_deliver=-1)
        deliveries = [message.metadata.num_delivered for _ in range(3) for message in await nats.pull("S", "c")]
        assert deliveries == [1, 2, 3]


async def test_a_nak_with_a_delay_and_a_term_are_heard(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 1)
        await nats.consumer("S", "c", ack_policy="explicit", ack_wait_s=30)
        (first,) = await nats.pull("S", "c")
        await nats.client.publish(first.reply, b'-NAK {"delay": 100000000}')
        (second,) = await nats.pull("S", "c")
        assert second.metadata.num_delivered == 2
        await nats.client.request(second.reply, b"+TERM Unreadable", timeout=5)
        assert (await nats.consumer_info("S", "c"))["num_ack_pending"] == 0


async def test_a_fetch_returns_at_once_what_is_there_and_a_waiting_one_gets_what_comes(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 3)
        await nats.consumer("S", "c", ack_policy="explicit")
        assert [seq(message) for message in await nats.pull("S", "c", most=3)] == [1, 2, 3]
        assert await nats.pull("S", "c", within_s=0) == []


async def test_a_reset_consumer_delivers_again_from_the_sequence_it_was_reset_to(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 10)
        await nats.consumer("S", "c", ack_policy="none")
        assert len(await nats.pull("S", "c", most=10)) == 10
        for start in (4, 9, 1):
            assert "error" not in await nats.api("CONSUMER.RESET.S.c", {"seq": start})
            assert [seq(message) for message in await nats.pull("S", "c", most=11 - start)] == list(range(start, 11))


async def test_a_reset_beyond_the_end_is_accepted_and_skips_what_comes_in_silence(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 3)
        await nats.consumer("S", "c", ack_policy="none")
        assert "error" not in await nats.api("CONSUMER.RESET.S.c", {"seq": 100})
        await nats.publish("s.new")
        assert await nats.pull("S", "c", within_s=0) == []
        assert (await nats.consumer_info("S", "c"))["num_pending"] == 0


async def test_what_went_to_a_reader_that_is_gone_is_gone_and_num_pending_does_not_show_it(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 0)
        await nats.consumer("S", "c", ack_policy="none")
        async with connected(nats_url) as lost:
            inbox = lost.client.new_inbox()
            await lost.client.subscribe(inbox)
            await lost.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b'{"batch": 5, "expires": 5000000000}', inbox)
            await lost.client.flush()
            for n in range(5):
                await nats.publish(f"s.{n}")

            async def delivered() -> bool:
                return bool((await nats.consumer_info("S", "c"))["delivered"]["stream_seq"] == 5)

            await eventually(delivered)
        assert (await nats.consumer_info("S", "c"))["num_pending"] == 0
        assert await nats.pull("S", "c", within_s=0) == []
        await nats.api("CONSUMER.RESET.S.c", {"seq": 1})
        assert len(await nats.pull("S", "c", most=5)) == 5


async def test_a_consumer_that_is_deleted_answers_a_pull_with_no_responders(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 1)
        await nats.consumer("S", "c", ack_policy="explicit")
        await nats.api("CONSUMER.DELETE.S.c")
        inbox = nats.client.new_inbox()
        subscription = await nats.client.subscribe(inbox)
        await nats.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b'{"batch": 1, "expires": 1000000000}', inbox)
        status = await subscription.next_msg(timeout=5)
        assert (status.headers or {})["Status"] == "503"


async def test_what_nobody_will_be_given_again_shows_in_the_consumers_floor(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 4)
        await nats.consumer("S", "c", ack_policy="explicit", ack_wait_s=30, max_deliver=-1)

        async def answer(message: Msg, answer: bytes) -> int:
            await nats.client.publish(message.reply, answer)
            await nats.client.flush()
            return readers.done_to(await nats.consumer_info("S", "c"))

        first, second, third = await nats.pull("S", "c", 3)
        assert await answer(third, b"+ACK") == 0  # in order: the first two are still held
        assert await answer(second, b'-NAK {"delay":30000000000}') == 0
        assert await answer(first, b"+TERM why") == 1  # terminated is done with, a nak is not
        await nats.api("STREAM.PURGE.S", {"filter": "s.1"})
        assert readers.done_to(await nats.consumer_info("S", "c")) == 3  # purged is done with; the fourth waits


async def test_what_was_delivered_too_often_is_not_held_and_leaves_the_floor_behind(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await filled(nats, 2)
        await nats.consumer("S", "c", ack_policy="explicit", ack_wait_s=LEASE_S, max_deliver=1)
        await nats.pull("S", "c")

        async def given_up() -> bool:
            return bool((await nats.consumer_info("S", "c"))["num_ack_pending"] == 0)

        await nats.pull("S", "c", within_s=1)  # the second message; the first one does not come again
        await nats.pull("S", "c", within_s=1)
        await eventually(given_up)
        info = await nats.consumer_info("S", "c")
        assert info["ack_floor"]["stream_seq"] == 0
        assert readers.done_to(info) == 2
