"""The board as it was: whatever is asked, the answer is that of a fold of the first N lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import NotFound
from contracts.lifecycle import Core, Status
from contracts.messages import Goal
from services.whiteboard import changes, choosing, query
from services.whiteboard.choosing import Filter, Range
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.moments import first_at
from services.whiteboard.past import Past, RecordsGone
from services.whiteboard.record import Note, Record
from services.whiteboard.view import View, fold
from tests.support.recording import UnsyncedDisk, change, mission_id, proposal, stream, whole

MISSIONS = st.integers(1, 6)
STATUSES = [status for status in Status if status is not Status.PROPOSED]
QUEUES = ("default", "gpu")
TITLES = ("grow tea", "Grow COFFEE", "nothing")


@st.composite
def proposals(draw: st.DrawFn) -> tuple[str, bytes]:
    number = draw(MISSIONS)
    kinds = draw(st.lists(st.sampled_from(["echo", "report.build"]), min_size=1, max_size=2))
    goals = [Goal(id=f"g{place}", kind=kind) for place, kind in enumerate(kinds)]
    queue, conversation = QUEUES[number % 2], f"room{number % 3}"
    return proposal(number, *goals, queue=queue, conversation=conversation, title=TITLES[number % 3])


@st.composite
def statuses(draw: st.DrawFn) -> tuple[str, bytes]:
    number = draw(MISSIONS)
    result = draw(st.sampled_from([None, {"tea": "grown"}, 'a "quoted" t\u00e4xt']))
    return change(number, draw(st.sampled_from(STATUSES)), QUEUES[number % 2], result=result, reason="ok")


HISTORIES = st.lists(st.one_of(proposals(), statuses(), statuses()), min_size=1, max_size=40)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    def some(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(draw(st.one_of(st.just([]), st.lists(st.sampled_from(values), max_size=2, unique=True))))

    return Filter(
        status=some([status.value for status in Status]),
        core=some([core.value for core in Core]),
        queue=some(QUEUES),
        conversation=some(["room0", "room1", "Room1"]),
        kind=some(["echo", "report.build"]),
        q=draw(st.sampled_from(["", "", "tea", "gro*", "TÄXT", "quoted tea", 'OR "', "NOT tea", "tea AND grow"])),
        limit=draw(st.integers(1, 7)),
    )


@contextmanager
def board(notes: Sequence[Note], batch: int = 7) -> Iterator[tuple[Journal, Past]]:
    """Keep notes in a journal and an index, batch by batch."""
    with TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "journal", UnsyncedDisk())
        index = Index.open(Path(folder) / "index.sqlite", journal)
        for start in range(0, len(notes), batch):
            index.apply(journal.append(notes[start : start + batch]))
        with closing(journal), closing(index), closing(query.connect(index.path)) as connection:
            yield journal, Past(connection, journal)


def views_at(records: Sequence[Record], at: int) -> list[View]:
    """Fold the first lines, and return the missions newest first."""
    histories: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records[:at]:
        histories[record.mission_id].append(record)
    found = [view for history in histories.values() if (view := fold(history))]
    return sorted(found, key=lambda view: -view.first_seq)


def shown(views: Sequence[object]) -> list[bytes]:
    return [bytes(view) if isinstance(view, msgspec.Raw) else msgspec.json.encode(view) for view in views]


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=30, deadline=None)
@given(HISTORIES, filters(), st.data())
def test_a_page_of_the_past_is_the_fold_of_the_first_lines(
    messages: list[tuple[str, bytes]], wanted: Filter, data: st.DataObject
) -> None:
    notes = stream(messages)
    at = data.draw(st.integers(0, len(notes)))
    with board(notes) as (journal, past):
        expected = [view for view in views_at(list(journal.replay()), at) if wanted.lets_through(view)]
        page = past.page(wanted, Range(), at)
        assert shown(page.items) == shown(expected[: wanted.limit])
        assert page.following == (expected[wanted.limit - 1].first_seq if len(expected) > wanted.limit else None)


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=30, deadline=None)
@given(HISTORIES, filters(), st.booleans(), st.sampled_from([0, 64]), st.integers(0, 20), st.integers(10, 40))
def test_a_page_holds_what_every_filter_lets_through(
    messages: list[tuple[str, bytes]], wanted: Filter, few: bool, together: int, low: int, high: int
) -> None:
    with board(stream(messages)) as (journal, past), pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "FEW", choosing.FEW if few else 0)
        patch.setattr(choosing, "_MOST_TOGETHER", together)
        present = views_at(list(journal.replay()), len(messages))
        expected = [view for view in present if low <= view.first_seq < high and wanted.lets_through(view)]
        page = query.page(past.connection, wanted, Range(low, high))
        assert shown(page.items) == shown(expected[: wanted.limit])


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=25, deadline=None)
@given(HISTORIES, st.data())
def test_one_mission_of_the_past_is_the_fold_of_its_first_lines(
    messages: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(messages)))
    with board(stream(messages)) as (journal, past):
        expected = {view.mission_id: view for view in views_at(list(journal.replay()), at)}
        for number in range(1, 7):
            assert past.view(mission_id(number), at) == expected.get(mission_id(number))


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=25, deadline=None)
@given(HISTORIES, st.data())
def test_a_diff_is_the_difference_of_two_folds_told_once(
    messages: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(messages)), st.integers(0, len(messages)))))
    limit = data.draw(st.integers(1, 5))
    with board(stream(messages)) as (journal, past):
        records = list(journal.replay())
        before = {view.mission_id: view for view in views_at(records, begin)}
        expected = {
            view.mission_id: told
            for view in views_at(records, end)
            if (told := changes.difference(before.get(view.mission_id), view))
        }
        found: list[changes.Changed] = []
        after: int | None = 0
        while after is not None:
            part = changes.between(past, begin, end, after, limit)
            found += part.items
            after = part.following
        assert len(found) == len(expected)
        assert {change.mission_id: change for change in found} == expected


@pytest.mark.timeout(120)  # each example syncs a journal
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 45), st.booleans())
def test_a_time_stands_for_the_first_sequence_that_is_not_before_it_however_the_clock_jumps(
    hundredths: list[int], asked: int, after: bool
) -> None:
    def time(number: int) -> str:
        return f"2026-01-01T00:00:{number // 10:02d}.{number % 10}{number % 3}0000000Z"

    messages = [proposal(number) for number in range(len(hundredths))]
    notes = [
        Note(seq, time(number), *message)
        for seq, (number, message) in enumerate(zip(hundredths, messages, strict=True), 1)
    ]
    clock = [max(note.time for note in notes[: place + 1]) for place in range(len(notes))]
    later = [seq for seq, at in enumerate(clock, 1) if (at > time(asked) if after else at >= time(asked))]
    with board(notes, batch=3) as (journal, past):
        assert first_at(past.connection, journal, time(asked), after=after) == (later or [len(notes) + 1])[0]


def test_a_mission_before_its_proposal_is_not_found() -> None:
    with board(stream([*whole(1), *whole(2)])) as (_, past), pytest.raises(NotFound, match="proposed at 4"):
        past.mission(mission_id(2), 3)


def test_what_the_journal_has_lost_is_gone_and_not_made_up() -> None:
    with board(stream([*whole(1), *whole(2)])) as (journal, past):
        lines = (journal.folder / "missions.jsonl").read_bytes().splitlines(keepends=True)
        (journal.folder / "missions.jsonl").write_bytes(b"".join([b"x" * (len(lines[0]) - 1) + b"\n", *lines[1:]]))
        with pytest.raises(RecordsGone, match="1 of 2 records"):
            past.mission(mission_id(1), 2)
        with pytest.raises(RecordsGone):
            changes.between(past, 2, 6, 0, 10)
        assert past.mission(mission_id(2), 5).status is Status.ACTIVE


def test_statuses_that_exclude_each_other_choose_nothing() -> None:
    with board(stream([*whole(1), *whole(2)])) as (_, past):
        wanted = Filter(status=("active",), core=("completed",), q="hi")
        assert query.page(past.connection, wanted, Range()).items == []
        assert past.page(wanted, Range(), 5).items == []
