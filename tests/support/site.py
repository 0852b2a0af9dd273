"""The whiteboard's answers over a journal that the test writes, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from starlette.testclient import TestClient

from contracts.lifecycle import Status
from contracts.messages import Goal
from services.runtime import chat_http
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.metrics import Metrics
from services.runtime.objects import Objects
from services.whiteboard import artifacts, export, problems
from services.whiteboard.app import Answers
from services.whiteboard.facts import Serving
from services.whiteboard.feed import Feed
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import Note
from services.whiteboard.routes import routes
from tests.support.broker import settings_for
from tests.support.recording import UnsyncedDisk, change, proposal, stream, whole


class Site:
    """The whiteboard's answers over a journal that the test writes."""

    def __init__(self, folder: Path, door: Any = None, **settings: Any) -> None:
        self.journal = Journal.open(folder / "journal", UnsyncedDisk())
        self.index = Index.open(folder / "index.sqlite", self.journal)
        self.feed = Feed(self.journal, self.index.last_seq)
        self.serving = Serving(exists=False)
        self.answers = Answers(self.journal, self.index, self.feed, lambda: 0, self.who_serves)
        kept = artifacts.Artifacts(self.index.path, cast("Objects", None))  # nothing is kept here
        resources = [*routes(self.answers), export.route(self.journal, self.feed, self.answers.full_id)]
        resources += [*artifacts.routes(kept), *(chat_http.routes(door) if door else [])]
        app = self.app = create_app(resources, Health(), Metrics("whiteboard"), settings_for("", **settings))
        for kind, answer in {**problems.ERRORS, **artifacts.ERRORS}.items():
            app.add_exception_handler(kind, answer)
        self.kept = kept
        self.client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    async def who_serves(self, _: str) -> Serving:
        return self.serving

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


@contextmanager
def opened(folder: Path, door: Any = None, **settings: Any) -> Iterator[Site]:
    """Open a site, and close it."""
    site = Site(folder, door, **settings)
    try:
        yield site
    finally:
        site.answers.close()
        site.kept.close()
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
