from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.runtime.problems import BY_NAME, KINDS
from services.whiteboard import query, stats
from tests.support.recording import mission_id, proposal, stream
from tests.support.site import Site, mixed, opened


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


def test_a_mission_is_answered_with_its_sequence(site: Site) -> None:
    site.take(mixed())
    answer = site.client.get(f"/missions/{mission_id(1)}")
    assert answer.json()["status"] == "completed"
    assert answer.headers["etag"] == '"3"'
    assert answer.headers["x-sequence"] == "10"
    again = site.client.get(f"/missions/{mission_id(1)}", headers={"If-None-Match": '"3"'})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("known", "status"),
    [('W/"3"', 304), ('"1", W/"3"', 304), ("*", 304), ('"2"', 200), ('"33"', 200), ("3", 200), ("", 200)],
)
def test_who_has_a_version_is_not_sent_it_again(site: Site, known: str, status: int) -> None:
    site.take(mixed())
    answer = site.client.get(f"/missions/{mission_id(1)}", headers={"If-None-Match": known})
    assert (answer.status_code, answer.headers["etag"], answer.headers["x-sequence"]) == (status, '"3"', "10")


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


def test_head_of_the_feed_ends(site: Site) -> None:
    site.take(mixed())
    answer = site.client.head("/events")
    assert (answer.status_code, answer.headers["x-sequence"]) == (200, "10")
    assert "content-length" not in answer.headers


def test_who_exports_or_watches_a_mission_may_name_the_start_of_its_id(site: Site) -> None:
    site.take(mixed())
    lines = site.client.get(f"/export.jsonl?mission_id={mission_id(1)[:8]}").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert site.client.head(f"/events?mission_id={mission_id(1)[:8]}").status_code == 200
    for path in ("/export.jsonl", "/events"):
        site.get(f"{path}?mission_id={mission_id(9)[:8]}", 404)


def test_a_question_that_takes_too_long_is_broken_off_and_says_what_helps(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take(mixed())
    monkeypatch.setattr(query, "_STEPS_BETWEEN_LOOKS", 1)
    monkeypatch.setattr(query, "ANSWER_WITHIN_S", 0)
    for path in ("/missions?kind=mail.send&status=active", "/missions?q=tea&as_of=9"):
        told = site.get(path, 503)
        assert told["type"] == "/problems/too-slow"
        assert "since" in told["hint"]


def test_a_question_whose_turn_does_not_come_is_not_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.whiteboard.app._TURN_WITHIN_S", -1)
    answer = site.client.get("/missions")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/too-busy")
    assert answer.headers["retry-after"] == "5"


def test_the_root_points_to_what_there_is(site: Site) -> None:
    assert site.get("/")["links"]["missions"] == "/missions"


def test_the_board_of_another_time_is_asked_for_by_sequence_or_by_time(site: Site) -> None:
    site.take(mixed())
    assert site.get(f"/missions/{mission_id(1)}?as_of=2")["status"] == "active"
    assert site.get(f"/missions/{mission_id(1)}?as_of=2026-01-01T00:00:01Z")["status"] == "proposed"
    assert site.ids("/missions?as_of=5") == [5, 4, 1]
    assert site.ids("/missions?as_of=2026-01-01T00:00:05Z&status=proposed") == [5, 4]
    assert site.ids("/missions?as_of=2030-01-01T00:00:00Z") == [9, 7, 5, 4, 1]
    site.get(f"/missions/{mission_id(3)}?as_of=4", 404)
    site.get(f"/missions/{mission_id(3)}?as_of=4&wait=1", 400)
    site.get("/missions?as_of=11", 503)
    site.get("/missions?as_of=yesterday", 400)


def test_a_diff_says_what_changed_and_how(site: Site) -> None:
    site.take(mixed())
    told = site.get("/diff?from=1&to=5")
    assert [item["mission_id"] for item in told["items"]] == [mission_id(1), mission_id(2), mission_id(3)]
    first = told["items"][0]
    assert (first["before"]["status"], first["after"]["status"]) == ("proposed", "completed")
    assert first["goals"] == [{"id": "g1", "kind": "echo", "before": "proposed", "after": "completed"}]
    assert told["items"][1]["before"] is None
    assert (told["begin"], told["end"], told["seq"]) == (1, 5, 10)
    seen, path = [], "/diff?from=0&limit=2"
    while path:
        answer = site.client.get(path)
        seen += [item["mission_id"] for item in answer.json()["items"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == [mission_id(number) for number in (1, 2, 3, 4, 5)]
    site.get("/diff", 400)


def test_why_is_told_in_words_with_the_facts_behind_them(site: Site) -> None:
    site.take(mixed())
    told = site.get(f"/missions/{mission_id(2)}/why")
    assert told["summary"] == "It has not been started: no executor ever served the queue gpu"
    assert told["details"] == ["Start an executor: missions executor --queues gpu"]
    assert told["facts"]["serving"]["exists"] is False
    assert site.get(f"/missions/{mission_id(5)}/why")["summary"] == "It is rejected, unknown_kind"


def test_stats_count_by_kind_by_minute_and_how_long_it_took(site: Site) -> None:
    site.take(mixed())
    told = stats.counts(query.connect(site.index.path), site.index.statuses, datetime(2026, 1, 1, 0, 30, tzinfo=UTC))
    assert told.by_kind["mail.send"] == {"active": 1, "cancelled": 1}
    assert told.per_minute == (stats.PerMinute("2026-01-01T00:00:00Z", 5, 3),)
    assert told.ended_last_hour == {"completed": 1, "cancelled": 1, "rejected": 1}
    assert told.wait_s == stats.Took(1.024, 1.024)
    oldest = told.oldest["proposed"]
    assert oldest is not None
    assert oldest.mission_id == mission_id(2)
    assert told.oldest["waiting"] is None
    assert stats.counts(query.connect(site.index.path), Counter(), datetime(2026, 1, 2, tzinfo=UTC)).per_minute == ()


def test_pages_are_zipped_where_that_is_accepted_and_say_what_may_be_done(site: Site) -> None:
    site.take(mixed())
    assert site.client.get("/missions").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in site.client.get("/missions", headers={"Accept-Encoding": "identity"}).headers
    answer = site.client.delete("/missions")
    assert (answer.status_code, sorted(answer.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert answer.json()["type"] == "/problems/method-not-allowed"
    options = site.client.options("/missions", headers={"Origin": "http://a.example"})
    assert (options.status_code, sorted(options.headers["allow"].split(", "))) == (204, ["GET", "HEAD"])
    assert not [name for name in options.headers if name.startswith("access-control")]


def test_every_problem_has_a_type_that_is_explained(site: Site) -> None:
    for path, status in (("/nowhere", 404), (f"/missions/{mission_id(9)}", 404), ("/missions?limit=0", 400)):
        kind = site.get(path, status)["type"]
        assert site.client.get(kind).text.splitlines()[0].endswith(f"({status})")
    assert {kind.name for kind in KINDS} == set(BY_NAME)
    assert site.client.get("/problems/nothing").status_code == 404
