from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from services.whiteboard import feed as feed_module
from services.whiteboard import streaming
from services.whiteboard.feed import Feed
from services.whiteboard.journal import Journal
from services.whiteboard.record import Record
from services.whiteboard.view import View, fold
from tests.support.eventually import eventually
from tests.support.recording import UnsyncedDisk, mission_id, stream, whole


class Live:
    """A journal and its feed."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal.open(folder, UnsyncedDisk())
        self.feed = Feed(self.journal, self.journal.last_seq)

    def take(self, missions: int) -> None:
        first = self.journal.last_seq + 1
        messages = [message for number in range(first // 3, first // 3 + missions) for message in whole(number)]
        records = self.journal.append(stream(messages, first))
        histories: dict[str, list[Record]] = {}
        for record in records:
            histories.setdefault(record.mission_id, []).append(record)
        views = [fold(history) for history in histories.values()]
        self.feed.publish(records, [view for view in views if isinstance(view, View)])

    async def read(self, after: int | None, until: int, queue: str = "") -> list[int]:
        def wanted(record: Record) -> bool:
            return not queue or record.subject.split(".")[2] == queue

        seqs: list[int] = []
        async with aclosing(self.feed.follow(after, wanted, pause_s=10, for_s=10)) as chunks:
            async for records in chunks:
                seqs += [record.seq for record in records]
                if seqs[-1:] >= [until]:
                    break
        return seqs


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    live = Live(tmp_path)
    yield live
    live.journal.close()


async def test_a_reader_gets_the_journal_first_and_then_what_comes(live: Live) -> None:
    live.take(300)
    live.feed = Feed(live.journal, live.journal.last_seq)
    reading = asyncio.ensure_future(live.read(1, 1_500))
    await eventually(lambda: live.feed.readers == 1)
    live.take(100)
    live.take(100)
    assert await reading == list(range(2, 1_501))
    assert live.feed.readers == 0


async def test_a_reader_without_a_cursor_starts_now(live: Live) -> None:
    live.take(2)
    reading = asyncio.ensure_future(live.read(None, 9))
    await eventually(lambda: live.feed.readers == 1)
    live.take(1)
    assert await reading == [7, 8, 9]


async def test_a_reader_that_fell_behind_reads_on_from_the_journal(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_RECENT_BYTES", 2_000)
    for _ in range(40):
        live.take(10)
    assert await live.read(0, 1_200) == list(range(1, 1_201))


async def test_a_filter_passes_only_what_is_wanted(live: Live) -> None:
    live.take(2)
    assert await live.read(0, 6, queue="default") == [1, 2, 3, 4, 5, 6]
    reading = asyncio.ensure_future(live.read(0, 1, queue="gpu"))
    await eventually(lambda: live.feed.readers == 1)
    live.feed.close()
    assert await reading == []


async def test_events_are_numbered_by_sequence_and_the_last_says_bye(live: Live) -> None:
    live.take(1)
    text = b""
    async for chunk in streaming.sse(live.feed, 1, lambda _: True):
        text += chunk
        if b"id: 3\n" in chunk:
            live.feed.close()
    lines = [record.line for record in live.journal.replay(1)]
    assert (
        text
        == b"retry: 1000\n\n"
        + b"".join(b"id: %d\ndata: %b\n\n" % (seq, line) for seq, line in enumerate(lines, 2))
        + b"event: bye\ndata: {}\n\n"
    )


async def test_a_quiet_stream_is_kept_open_by_pings(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PING_S", 0.001)
    chunks = streaming.sse(live.feed, None, lambda _: True)
    assert [await anext(chunks) for _ in range(3)] == [b"retry: 1000\n\n", b": ping\n\n", b": ping\n\n"]
    await chunks.aclose()


async def test_who_waits_for_a_sequence_is_woken_by_it(live: Live) -> None:
    waiting = asyncio.ensure_future(live.feed.passed(2, 10))
    assert await live.feed.passed(0, 0.001) is False
    live.take(1)
    assert await waiting is True


async def test_who_waits_for_an_outcome_is_woken_by_it(live: Live) -> None:
    waiting = asyncio.ensure_future(live.feed.outcome(mission_id(0), lambda: False, 10))
    await live.feed.outcome(mission_id(0), lambda: True, 10)
    await live.feed.outcome(mission_id(0), lambda: False, 0.001)
    assert not waiting.done()
    live.take(1)
    await waiting


async def test_a_reader_takes_no_more_than_a_few_large_records_at_a_time(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "CHUNK_BYTES", 1_000)
    live.take(10)
    for recent in (True, False):
        live.feed = live.feed if recent else Feed(live.journal, live.journal.last_seq)
        async with aclosing(live.feed.follow(0, lambda _: True, pause_s=10, for_s=10)) as chunks:
            chunk = await anext(chunks)
            assert 1 <= len(chunk) < 10
            assert sum(len(record.line) for record in chunk) <= 1_000
    monkeypatch.setattr(feed_module, "CHUNK_BYTES", 1)
    assert await live.read(0, 30) == list(range(1, 31))
