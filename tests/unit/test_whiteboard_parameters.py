"""What a request may ask for: moments to the nanosecond, cursors of their own list, nothing said twice or empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.whiteboard.record import Note
from tests.support.recording import mission_id, stream, whole
from tests.support.site import Site, mixed, opened

#: Three records within one microsecond.
CLOSE = [f"2026-01-01T00:00:00.12345678{digit}Z" for digit in "789"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


def close_together(site: Site) -> None:
    site.take(
        [Note(note.seq, time, note.subject, note.data) for note, time in zip(stream(whole()), CLOSE, strict=True)]
    )


@pytest.mark.parametrize(("record", "status"), [(0, "proposed"), (1, "active"), (2, "completed")])
def test_a_mission_as_of_the_time_of_a_record_has_that_record(site: Site, record: int, status: str) -> None:
    close_together(site)
    assert site.get(f"/missions/{mission_id(1)}?as_of={CLOSE[record]}")["status"] == status


def test_what_was_proposed_at_a_time_is_since_it_and_not_until_it(site: Site) -> None:
    close_together(site)
    assert site.ids(f"/missions?since={CLOSE[0]}") == site.ids(f"/missions?until={CLOSE[1]}") == [1]
    assert site.ids(f"/missions?since={CLOSE[1]}") == site.ids(f"/missions?until={CLOSE[0]}") == []


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("0001-01-01T00:00:00Z", []),
        ("0999-12-31T23:59:59.9Z", []),
        ("2026-01-01T00:00:03.999999999999Z", [1]),
        ("2026-01-01T00:00:04Z", [4, 1]),
        ("2025-12-31t14:00:04-10:00", [4, 1]),
        ("9999-12-31T23:59:59Z", [9, 7, 5, 4, 1]),
    ],
)
def test_any_time_stands_for_the_last_record_by_then(site: Site, time: str, found: list[int]) -> None:
    site.take(mixed())
    assert site.ids(f"/missions?as_of={time}") == found


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00 01:00"])
def test_a_plus_that_came_as_a_blank_is_explained(site: Site, time: str) -> None:
    assert "%2B" in site.get(f"/missions?since={time}", 400)["hint"]


@pytest.mark.parametrize("time", ["-1", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:60Z", "now", "1e3"])
def test_what_is_no_moment_is_said_to_be_none(site: Site, time: str) -> None:
    told = site.get(f"/missions?as_of={time}", 400)
    assert "neither a sequence nor a time" in told["detail"]


@pytest.mark.parametrize(
    "query", ["limit=1&limit=2", "as_of=1&as_of=2", "q=a&q=b", "cursor=x&cursor=x", "min_seq=0&min_seq=0"]
)
def test_what_has_one_value_is_not_said_twice(site: Site, query: str) -> None:
    assert "twice" in site.get(f"/missions?{query}", 400)["detail"]


@pytest.mark.parametrize("name", ["status", "core", "queue", "conversation", "kind", "q", "since", "as_of", "limit"])
@pytest.mark.parametrize("value", ["", "%20"])
def test_a_filter_without_a_value_never_answers_everything(site: Site, name: str, value: str) -> None:
    assert "empty" in site.get(f"/missions?{name}={value}", 400)["detail"]


def test_values_that_are_only_commas_are_none(site: Site) -> None:
    assert "empty" in site.get("/missions?status=,", 400)["detail"]


def test_a_cursor_leads_on_in_its_own_list_alone(site: Site) -> None:
    site.take(mixed())
    lists = ["/missions?limit=1", "/diff?from=0&limit=1", f"/missions/{mission_id(1)}/events?limit=1"]
    cursors = [site.get(path)["next_cursor"] for path in lists]
    for path, own in zip(lists, cursors, strict=True):
        for cursor in cursors:
            site.get(f"{path}&cursor={cursor}", 200 if cursor == own else 400)


@pytest.mark.parametrize("changed", ["{}==", "!{}", "{}x", "MS4yNg"])
def test_a_cursor_that_was_changed_is_none_of_ours(site: Site, changed: str) -> None:
    site.take(mixed())
    cursor = changed.format(site.get("/missions?limit=1")["next_cursor"])
    site.get(f"/missions?limit=1&cursor={cursor}", 400)


def test_the_pages_of_a_diff_end_where_the_first_one_ended(site: Site) -> None:
    site.take(mixed())
    first = site.get("/diff?from=0&limit=4")
    site.take(stream(whole(9), first=site.journal.last_seq + 1))
    second = site.get(f"/diff?from=0&limit=4&cursor={first['next_cursor']}")
    assert (first["end"], second["end"], second["next_cursor"]) == (10, 10, None)
    told = [item["mission_id"] for page in (first, second) for item in page["items"]]
    assert told == [mission_id(number) for number in range(1, 6)]


@pytest.mark.parametrize("query", ["from=9&to=4", "from=2026-01-01T00:00:09Z&to=2026-01-01T00:00:04Z"])
def test_a_diff_does_not_run_backwards(site: Site, query: str) -> None:
    site.take(mixed())
    assert "is after" in site.get(f"/diff?{query}", 400)["detail"]
    assert site.get("/diff?from=4&to=4")["items"] == []
