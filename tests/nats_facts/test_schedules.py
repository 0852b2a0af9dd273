"""What a schedule does when it fires, and why schedules live in a stream of their own."""

from __future__ import annotations

from nats.aio.msg import Msg

from tests.support.eventually import eventually
from tests.support.raw_nats import EXPECTED, MSG_ID, Raw, connected, error_code

PAST = "@at 2020-01-01T00:00:00Z"
FAR = "@at 2099-01-01T00:00:00Z"


async def scheduling(nats: Raw) -> None:
    await nats.stream("S", "at.*", "due.*", allow_msg_schedules=True, allow_msg_ttl=True)


def schedule(when: str) -> dict[str, str]:
    return {"Nats-Schedule": when, "Nats-Schedule-Target": "due.ops", "Nats-TTL": "never"}


async def test_a_schedule_of_the_past_fires_at_once_names_its_scheduler_and_loses_its_message_id(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        await nats.consumer("S", "c", filter_subject="due.*", ack_policy="explicit")
        answer = await nats.publish("at.one", b"wake", schedule(PAST) | {MSG_ID: "m-1", "ce-id": "ce-1"})
        assert error_code(answer) == 0
        (fired,) = await nats.pull("S", "c", within_s=10)
        headers = fired.headers or {}
        assert (fired.subject, fired.data) == ("due.ops", b"wake")
        assert headers["Nats-Scheduler"] == "at.one"
        assert headers["ce-id"] == "ce-1"
        assert MSG_ID not in headers


async def test_firings_reach_consumers_and_no_core_subscriber(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        await nats.consumer("S", "c", filter_subject="due.*", ack_policy="explicit")
        seen: list[Msg] = []

        async def on_message(message: Msg) -> None:
            seen.append(message)

        await nats.client.subscribe("due.*", cb=on_message)
        await nats.publish("at.one", headers=schedule(PAST))
        assert len(await nats.pull("S", "c", within_s=10)) == 1
        await nats.client.flush()
        assert seen == []


async def test_each_firing_of_a_repeating_schedule_has_a_sequence_of_its_own(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        await nats.consumer("S", "c", filter_subject="due.*", ack_policy="explicit")
        await nats.publish("at.tick", headers=schedule("@every 1s"))
        fired = await nats.pull("S", "c", most=2, within_s=15)
        assert len({message.metadata.sequence.stream for message in fired}) == 2


async def test_expected_zero_creates_a_schedule_only_once_and_a_purge_cancels_it(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        create = schedule(FAR) | {EXPECTED: "0"}
        assert error_code(await nats.publish("at.one", headers=create)) == 0
        assert error_code(await nats.publish("at.one", headers=create)) == 10071
        assert (await nats.api("STREAM.PURGE.S", {"filter": "at.one"}))["purged"] == 1
        assert error_code(await nats.publish("at.one", headers=create)) == 0


async def test_a_schedule_that_fired_is_gone_so_expected_zero_creates_it_again(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        create = schedule(PAST) | {EXPECTED: "0"}
        await nats.publish("at.one", headers=create)

        async def gone() -> bool:
            return error_code(await nats.api("STREAM.MSG.GET.S", {"last_by_subj": "at.one"})) == 10037

        await eventually(gone)
        assert error_code(await nats.publish("at.one", headers=create)) == 0


async def test_a_stream_without_schedules_refuses_them_and_refuses_to_be_wiped_by_a_header(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*", allow_msg_ttl=True)
        assert error_code(await nats.publish("s.a", headers=schedule(FAR))) == 10188
        assert error_code(await nats.publish("s.a", headers={"Nats-Rollup": "all"})) == 10111


async def test_a_stream_with_schedules_can_be_wiped_by_a_header(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await scheduling(nats)
        await nats.publish("due.ops")
        await nats.publish("due.ops", headers={"Nats-Rollup": "all"})
        assert await nats.messages("S") == 1
