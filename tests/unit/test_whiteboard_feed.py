from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from threading import get_ident

import pytest

from missions.records import from_line
from services.whiteboard import feed as feed_module
from services.whiteboard import query, streaming
from services.whiteboard.feed import Feed, Missed, Reached
from services.whiteboard.journal import Journal
from services.whiteboard.record import Record
from services.whiteboard.selecting import Selection, Selector
from services.whiteboard.view import View, fold
from tests.support.eventually import eventually
from tests.support.recording import UnsyncedDisk, mission_id, stream, whole
from tests.support.site import mixed, opened


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

    async def read(self, after: int, until: int, queue: str = "") -> list[int]:
        def wanted(record: Record) -> bool:
            return not queue or record.subject.split(".")[2] == queue

        seqs: list[int] = []
        async with aclosing(self.feed.follow(after, wanted, pause_s=10, for_s=10)) as chunks:
            async for records in chunks:
                assert not isinstance(records, Missed)
                seqs += [] if isinstance(records, Reached) else [record.seq for record in records]
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
        == b"retry: 1000\nid: 1\n\n"
        + b"".join(b"id: %d\ndata: %b\n\n" % (seq, line) for seq, line in enumerate(lines, 2))
        + b": ping\nid: 3\n\nevent: bye\nid: 3\ndata: {}\n\n"
    )


async def test_a_quiet_stream_is_kept_open_by_pings(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PING_S", 0.001)
    live.take(1)
    chunks = streaming.sse(live.feed, 3, lambda _: True)
    assert [await anext(chunks) for _ in range(3)] == [b"retry: 1000\nid: 3\n\n", *[b": ping\nid: 3\n\n"] * 2]
    await chunks.aclose()


async def test_who_wants_nothing_of_much_still_hears_how_far_it_is(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "CHUNK", 2)
    live.take(2)
    async with aclosing(live.feed.follow(0, lambda _: False, pause_s=0, for_s=10)) as parts:
        told = [await anext(parts) for _ in range(3)]
    assert told == [Reached(0), Reached(2), Reached(4)]


async def test_the_end_says_how_far_it_came_whatever_was_wanted(live: Live) -> None:
    live.take(1)

    def nothing(_: Record) -> bool:
        live.feed.close()
        return False

    assert b"".join([part async for part in streaming.sse(live.feed, 0, nothing)]).endswith(
        b": ping\nid: 3\n\nevent: bye\nid: 3\ndata: {}\n\n"
    )


async def test_what_is_not_indexed_yet_is_not_shown(live: Live) -> None:
    live.take(2)
    live.feed = Feed(live.journal, 4)  # the journal is ahead of it, as it is while a batch is indexed
    parts = live.feed.follow(0, lambda _: True, pause_s=0.001, for_s=10)
    records = await anext(parts)
    assert isinstance(records, list)
    assert [record.seq for record in records] == [1, 2, 3, 4]
    assert await anext(parts) == Reached(4)
    live.feed.advance(6)
    records = await anext(parts)
    assert isinstance(records, list)
    assert [record.seq for record in records] == [5, 6]
    await parts.aclose()


async def test_all_who_read_the_journal_take_turns_in_one_thread(live: Live) -> None:
    threads = await asyncio.gather(*(live.feed.replaying(get_ident) for _ in range(50)))
    assert len(set(threads)) == 1
    assert get_ident() not in threads


async def test_what_comes_while_the_journal_is_read_is_not_taken_for_missing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.take(1)
    path = live.journal.folder / "missions.jsonl"
    path.write_bytes(b"".join(b"x" * (len(line) - 1) + b"\n" for line in path.read_bytes().splitlines(keepends=True)))
    feed = live.feed = Feed(live.journal, 3)
    read = feed._after

    async def slowly(position: int, end: int) -> list[Record]:
        found = await read(position, end)
        if position == 0:
            live.take(1)
        return found

    monkeypatch.setattr(feed, "_after", slowly)
    async with aclosing(feed.follow(0, lambda _: True, pause_s=10, for_s=10)) as parts:
        assert await anext(parts) == Missed(1, 3)
        records = await anext(parts)
    assert isinstance(records, list)
    assert [record.seq for record in records] == [4, 5, 6]


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
            assert isinstance(chunk, list)
            assert 1 <= len(chunk) < 10
            assert sum(len(record.line) for record in chunk) <= 1_000
    monkeypatch.setattr(feed_module, "CHUNK_BYTES", 1)
    assert await live.read(0, 30) == list(range(1, 31))


@pytest.mark.parametrize("recent", [True, False])
async def test_what_is_missing_is_said_where_it_is_missing(live: Live, recent: bool) -> None:
    live.take(2)
    path = live.journal.folder / "missions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for lost in (0, 1, 3):
        lines[lost] = b"x" * (len(lines[lost]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    live.feed = Feed(live.journal, 6)
    if recent:
        live.take(1)
    async with aclosing(live.feed.follow(0, lambda _: True, pause_s=10, for_s=10)) as chunks:
        found = [await anext(chunks) for _ in range(4)]
    assert [part[0].seq if isinstance(part, list) else part for part in found] == [Missed(1, 2), 3, Missed(4, 4), 5]


async def test_a_gap_is_an_event_and_a_line(live: Live) -> None:
    live.take(1)
    path = live.journal.folder / "missions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"x" * (len(lines[0]) - 1) + b"\n" + b"".join(lines[1:]))
    live.feed = Feed(live.journal, 3)
    for write, expected in (
        (streaming.sse, b'event: gap\nid: 1\ndata: {"first":1,"last":1}\n\n'),
        (streaming.ndjson, b'{"seq":1,"time":"","subject":"whiteboard.gap","data":{"first":1,"last":1}}\n'),
    ):
        async with aclosing(write(live.feed, 0, lambda _: True)) as blocks:
            while (block := await anext(blocks)).startswith(b"retry"):
                pass
            assert block == expected
    assert not from_line(expected).about_a_mission


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (Selection(status=frozenset({"proposed"})), [1, 4, 5, 7, 9]),
        (Selection(status=frozenset({"completed", "rejected"})), [3, 10]),
        (Selection(core=frozenset({"failed"})), [8, 10]),
        (Selection(queue=frozenset({"gpu"})), [4]),
        (Selection(conversation=frozenset({"ops"})), [1, 2, 3, 5, 6]),
        (Selection(kind=frozenset({"mail.send"})), [5, 6, 7, 8]),
        (Selection(kind=frozenset({"mail.send"}), core=frozenset({"active"})), [6]),
        (Selection(mission_id=frozenset({mission_id(2), mission_id(5)}), queue=frozenset({"default"})), [9, 10]),
    ],
)
def test_a_reader_gets_what_every_filter_lets_through(tmp_path: Path, selection: Selection, found: list[int]) -> None:
    with opened(tmp_path) as site:
        site.take(mixed())
        records = list(site.journal.replay())
        for order in (records, records[::-1]):  # whether the proposal comes first, or the index must tell
            with closing(query.connect(site.index.path)) as connection:
                wanted = Selector(connection).wanting(selection)
                assert sorted(record.seq for record in order if wanted(record)) == found
