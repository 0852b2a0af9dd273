from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.metrics import Metrics
from services.whiteboard import export, problems
from services.whiteboard.compression import compress
from services.whiteboard.feed import Feed
from services.whiteboard.journal import Journal
from tests.support.broker import settings_for
from tests.support.documented import blocks
from tests.support.recording import UnsyncedDisk, mission_id, stream, whole

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
RECORDS = stream([message for number in range(1, 301) for message in whole(number)])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a journal of two full segments, one of them compressed, and an open file."""
    journal = Journal.open(tmp_path / "journal", UnsyncedDisk())
    for start in range(0, 900, 300):
        journal.append(RECORDS[start : start + 300])
        if start < 600:
            journal.seal()
    compress(journal.files, journal.files.sealed[0])
    yield journal
    journal.close()


@pytest.fixture
def client(journal: Journal) -> TestClient:
    route = export.route(journal, Feed(journal, 890), lambda name: name)
    app = create_app([route], Health(), Metrics("whiteboard"), settings_for(""))
    for kind, answer in problems.ERRORS.items():
        app.add_exception_handler(kind, answer)
    return TestClient(app, base_url="http://localhost")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("gzip;q=0, *;q=1", "identity"),
        ("gzip; q=0.000", "identity"),
    ],
)
def test_the_export_is_the_lines_of_the_journal_as_far_as_they_may_be_seen(
    client: TestClient, journal: Journal, accepted: str, encoding: str
) -> None:
    answer = client.get("/export.jsonl", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert answer.headers["x-sequence"] == "890"
    assert answer.content == b"".join(record.line + b"\n" for record in journal.replay() if record.seq <= 890)


def test_an_export_of_many_blocks_has_every_line_once(
    client: TestClient, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_BLOCK_BYTES", 1)
    lines = client.get("/export.jsonl?since=280&until=320").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(280, 321))


def test_the_export_takes_a_range_and_missions(client: TestClient) -> None:
    lines = client.get("/export.jsonl?since=299&until=302").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [299, 300, 301, 302]
    lines = client.get(f"/export.jsonl?mission_id={mission_id(2)},{mission_id(200)}&since=5").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [5, 6, 598, 599, 600]
    head = client.head("/export.jsonl").headers
    assert (head["x-first-sequence"], head.get("content-length")) == ("1", None)
    assert client.get("/export.jsonl?since=x").status_code == client.get("/export.jsonl?to=1").status_code == 400


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_lines_for_jq_give_what_they_say(journal: Journal) -> None:
    expected = {"status": '300 "completed"', "mission": '"proposed"\n"active"\n"completed"'}
    for block in blocks(OPERATIONS, "jq"):
        script = block.text.replace("MISSION_ID", mission_id(7))
        ran = subprocess.run(
            ["/bin/sh", "-c", script], cwd=journal.folder, capture_output=True, text=True, check=True, timeout=20
        )
        assert "\n".join(line.strip() for line in ran.stdout.splitlines()) == expected[block.about]


def test_the_lines_for_duckdb_give_what_they_say(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: pip install duckdb")
    monkeypatch.chdir(journal.folder)
    found = {block.about: duckdb.sql(block.text).fetchall() for block in blocks(OPERATIONS, "sql")}
    assert found["status"] == [("completed", 300)]
    assert [row[0] for row in found["kinds"]] == ["echo"]
    assert found["kinds"][0][1] == 300
