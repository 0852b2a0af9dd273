from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from contracts.lifecycle import Status
from contracts.messages import Goal
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.metrics import Metrics
from services.whiteboard import problems
from services.whiteboard.app import Answers, routes
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note
from tests.support.broker import settings_for
from tests.support.recording import UnsyncedDisk, change, mission_id, proposal, stream, whole


class Site:
    """The whiteboard's answers over a journal that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal.open(folder / "journal", UnsyncedDisk())
        self.index = Index.open(folder / "index.sqlite", self.journal)
        self.feed = Feed(self.journal, self.index.last_seq)
        self.answers = Answers(self.journal, self.index, self.feed, lambda: 0)
        app = create_app(routes(self.answers), Health(), Metrics("whiteboard"), settings_for(""))
        for kind, answer in problems.ERRORS.items():
            app.add_exception_handler(kind, answer)
        self.client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    def take(self, notes: list[Note]) -> None:
        records = self.journal.append(notes)
        self.feed.publish(records, self.index.apply(records).changed.values())

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        answer = self.client.get(path, headers=headers)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["hint"]
        return answer.json()

    def ids(self, path: str) -> list[int]:
        return [item["first_seq"] for item in self.get(path)["items"]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.answers.close()
    site.index.close()
    site.journal.close()


def mixed() -> list[Note]:
    """Five missions: sequences 1, 4, 5, 7, 9 are their proposals."""
    return stream(
        [
            *whole(1, title="grow 100% tea", conversation="ops"),
            proposal(2, queue="gpu"),
            proposal(3, Goal(id="a", kind="report.build"), Goal(id="b", kind="mail.send"), conversation="ops"),
            change(3, Status.ACTIVE),
            proposal(4, Goal(id="a", kind="mail.send")),
            change(4, Status.CANCELLED, reason="user", attempt=0),
            proposal(5),
            change(5, Status.REJECTED, reason="unknown_kind", attempt=0),
        ]
    )


def test_a_mission_is_answered_with_its_sequence(site: Site) -> None:
    site.take(mixed())
    answer = site.client.get(f"/missions/{mission_id(1)}")
    assert answer.json()["status"] == "completed"
    assert answer.headers["etag"] == '"3"'
    assert answer.headers["x-sequence"] == "10"
    again = site.client.get(f"/missions/{mission_id(1)}", headers={"If-None-Match": '"3"'})
    assert (again.status_code, again.content) == (304, b"")


def test_a_mission_is_found_by_a_prefix_of_its_id(site: Site) -> None:
    site.take(mixed())
    assert site.get(f"/missions/{mission_id(1)[:6]}")["mission_id"] == mission_id(1)
    site.get(f"/missions/{mission_id(1)[:5]}", 404)


def test_an_ambiguous_prefix_names_the_candidates(site: Site) -> None:
    ids = ["aaaaaa" + "b" * 20, "aaaaaa" + "c" * 20]
    body = {"goals": [], "event_id": "x", "at": "2026-01-01T00:00:00Z"}
    messages = [(f"missions.proposed.default.{name}", json.dumps(body | {"mission_id": name}).encode()) for name in ids]
    site.take(stream(messages))
    hint = site.get("/missions/aaaaaa", 400)["hint"]
    assert ids[0] in hint
    assert ids[1] in hint


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("", [9, 7, 5, 4, 1]),
        ("?status=completed", [1]),
        ("?status=completed,rejected&status=proposed", [9, 4, 1]),
        ("?core=failed", [9, 7]),
        ("?core=failed&status=cancelled", [7]),
        ("?queue=gpu", [4]),
        ("?conversation=ops", [5, 1]),
        ("?kind=mail.send", [7, 5]),
        ("?kind=mail.send&conversation=ops", [5]),
        ("?q=TEA", [1]),
        ("?q=100%25%20tea", [1]),
        ("?q=1_0", []),
        ("?q=unknown_kind", [9]),
        ("?since=2026-01-01T00:00:05Z", [9, 7, 5]),
        ("?since=2026-01-01T01:00:05%2B01:00&until=2026-01-01T00:00:09Z", [7, 5]),
        ("?queue=nowhere", []),
    ],
)
def test_a_list_holds_what_every_filter_lets_through_newest_first(site: Site, question: str, found: list[int]) -> None:
    site.take(mixed())
    assert site.ids(f"/missions{question}") == found


def test_pages_follow_on_each_other_without_repeat_or_hole(site: Site) -> None:
    site.take(mixed())
    seen, path = [], "/missions?limit=2"
    while path:
        answer = site.client.get(path)
        seen += [item["first_seq"] for item in answer.json()["items"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
        assert bool(path) == bool(answer.json()["next_cursor"])
        site.take(stream([proposal(100 + len(seen))], first=site.journal.last_seq + 1))
    assert seen == [9, 7, 5, 4, 1]


@pytest.mark.parametrize(
    "path",
    [
        "/missions?colour=red",
        "/missions?status=odd",
        "/missions?core=waiting",
        "/missions?limit=0",
        "/missions?limit=-1",
        "/missions?limit=many",
        "/missions?limit=%C2%B2",
        "/missions?cursor=x",
        "/missions?cursor=%C3%A9",
        "/missions?since=yesterday",
        "/missions?since=2026-01-01T00:00:00",
        "/missions?until=0001-01-01T00:00:00%2B14:00",
        "/missions?queue=a.b",
        "/missions?min_seq=99999999999999999999999",
        "/missions?q=" + "x" * 300,
        f"/missions/{mission_id(1)}?wait=nan",
        f"/missions/{mission_id(1)}?wait=-1",
        f"/missions/{mission_id(1)}?limit=1",
        f"/missions/{mission_id(1)}/events?after=1",
        "/events?after=-1",
        "/events?mission_id=a%00b",
        "/stats?x=1",
    ],
)
def test_what_cannot_be_understood_is_a_400_that_says_what_is_allowed(site: Site, path: str) -> None:
    site.get(path, 400)


def test_a_limit_is_cut_to_what_is_allowed(site: Site) -> None:
    site.take(mixed())
    assert len(site.ids("/missions?limit=100000")) == 5


def test_an_unknown_mission_and_an_unknown_path_are_404(site: Site) -> None:
    site.get(f"/missions/{mission_id(9)}", 404)
    site.get(f"/missions/{mission_id(9)}?wait=0.01", 404)
    site.get("/missions/%00", 404)
    site.get("/nowhere", 404)


def test_a_sequence_that_has_not_come_is_a_503_that_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.whiteboard.app._MIN_SEQ_WAIT_S", 0.01)
    site.take(mixed())
    assert site.get("/missions?min_seq=10")["seq"] == 10
    site.get("/missions?min_seq=11", 503)


def test_the_records_of_a_mission_are_its_lines_of_the_journal(site: Site) -> None:
    site.take(mixed())
    answer = site.get(f"/missions/{mission_id(1)}/events?limit=2")
    assert [item["seq"] for item in answer["items"]] == [1, 2]
    assert list(answer["items"][0]) == ["seq", "time", "subject", "crc", "prev", "data"]
    rest = site.get(f"/missions/{mission_id(1)}/events?cursor={answer['next_cursor']}")
    assert [item["seq"] for item in rest["items"]] == [3]
    assert rest["next_cursor"] is None


def test_stats_count_missions_by_status(site: Site) -> None:
    site.take(mixed())
    stats = site.get("/stats")
    assert stats["missions"] == 5
    assert stats["by_core"] == {"proposed": 1, "active": 1, "completed": 1, "failed": 2}
    assert stats["seq"] == 10


def test_head_answers_like_get_without_a_body(site: Site) -> None:
    site.take(mixed())
    answer = site.client.head(f"/missions/{mission_id(1)}")
    assert (answer.status_code, answer.headers["etag"], answer.content) == (200, '"3"', b"")


def test_the_root_points_to_what_there_is(site: Site) -> None:
    assert site.get("/")["links"]["missions"] == "/missions"
