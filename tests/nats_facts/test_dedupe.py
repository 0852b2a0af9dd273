"""What `Nats-Msg-Id` is good for: little. One id per stream, whatever the subject and the body."""

from __future__ import annotations

from tests.support.raw_nats import MSG_ID, connected, error_code


async def test_the_same_message_id_is_dropped_whatever_its_subject_and_body(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*", duplicate_window=60_000_000_000)
        first = await nats.publish("s.ann", b"one", {MSG_ID: "evt-1"})
        second = await nats.publish("s.bob", b"another", {MSG_ID: "evt-1"})
        assert "duplicate" not in first
        assert (second["duplicate"], second["seq"]) == (True, first["seq"])
        assert await nats.messages("S") == 1


async def test_messages_without_an_id_are_never_duplicates(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        answers = [await nats.publish("s.ann", b"one") for _ in range(3)]
        assert [answer["seq"] for answer in answers] == [1, 2, 3]


async def test_a_repeat_with_id_and_expected_sequence_is_refused_and_not_called_a_duplicate(nats_url: str) -> None:
    async with connected(nats_url) as nats:
        await nats.stream("S", "s.*")
        await nats.publish_expecting("s.a", 0, {MSG_ID: "e"})
        assert error_code(await nats.publish_expecting("s.a", 0, {MSG_ID: "e"})) == 10071
