"""What the whiteboard answers over HTTP. Every answer says the sequence that it reflects."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from contracts.errors import NotFound
from contracts.ids import is_mission_id
from contracts.lifecycle import CORE, TERMINAL, Status
from services.runtime.http import json_response
from services.whiteboard import parameters, query, streaming
from services.whiteboard.feed import Feed, Wanted
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.problems import NotYet
from services.whiteboard.query import Found, Page
from services.whiteboard.record import Record

_LONGEST_WAIT_S = 60.0
#: How long an answer is held back until `min_seq` is reached, where no `wait` says otherwise.
_MIN_SEQ_WAIT_S = 5.0


class Answers:
    """The answers to `GET`; lives on the event loop, long questions go to a thread of their own."""

    def __init__(self, journal: Journal, index: Index, feed: Feed, lag: Callable[[], int | None]) -> None:
        self._journal = journal
        self._index = index
        self._feed = feed
        self._lag = lag
        self._connection = query.connect(index.path)
        self._long_questions = query.connect(index.path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="query")

    def close(self) -> None:
        """Close what reads the index."""
        self._thread.shutdown()
        self._connection.close()
        self._long_questions.close()

    async def root(self, _: Request) -> Response:
        """`GET /`."""
        links = {
            "missions": "/missions",
            "events": "/events",
            "stats": "/stats",
            "ready": "/readyz",
            "say": "/chat/integrated",
        }
        return json_response({"service": "missions whiteboard", "links": links, "seq": self._feed.last_seq})

    async def missions(self, request: Request) -> Response:
        """`GET /missions`."""
        wanted = parameters.filter_of(request.query_params)
        await self._reach(request.query_params)
        page = await self._ask(lambda connection: query.page(connection, wanted))
        cursor = None if page.following is None else parameters.encode_cursor(page.following)
        content = {"items": page.items, "next_cursor": cursor, "seq": page.seq}
        links = {"Link": _next_link(request, cursor)} if cursor else {}
        return _stamped(request, content, page.seq, page.seq, links)

    async def mission(self, request: Request) -> Response:
        """`GET /missions/{id}`."""
        params, name = request.query_params, request.path_params["mission_id"]
        parameters.check_names(params, ("min_seq", "wait"))
        wait_s = parameters.seconds(params, "wait", _LONGEST_WAIT_S)
        await self._reach(params, wait_s)
        await self._feed.outcome(self._full_id(name), lambda: self._is_over(name), wait_s)
        found = query.mission(self._connection, name)
        return _stamped(request, msgspec.Raw(found.view), found.seq, max(self._feed.last_seq, found.seq))

    async def mission_events(self, request: Request) -> Response:
        """`GET /missions/{id}/events`."""
        params = request.query_params
        parameters.check_names(params, ("limit", "cursor", "min_seq"))
        limit = parameters.number(params, "limit", query.MOST_ITEMS, most=query.MOST_ITEMS, least=1)
        after = parameters.cursor(params) or 0
        await self._reach(params)
        found = query.mission(self._connection, request.path_params["mission_id"])
        places = query.places(self._connection, found.first_seq, after, limit + 1)
        records = await asyncio.to_thread(lambda: [self._journal.read(*place) for place in places[:limit]])
        items = [msgspec.Raw(record.line) for record in records if record is not None]
        following = parameters.encode_cursor(places[limit - 1][0]) if len(places) > limit else None
        content = {"mission_id": found.mission_id, "items": items, "next_cursor": following, "seq": found.seq}
        return _stamped(request, content, found.seq, max(self._feed.last_seq, found.seq))

    async def events(self, request: Request) -> Response:
        """`GET /events`: server-sent events, or NDJSON where that is what the reader accepts."""
        params = request.query_params
        parameters.check_names(params, ("after", "mission_id", "conversation", "queue"))
        after = parameters.resume_after(params, request.headers.get("last-event-id"))
        wanted = self._wanted(params)
        as_lines = streaming.NDJSON in request.headers.get("accept", "")
        write = streaming.ndjson if as_lines else streaming.sse
        headers = {**streaming.HEADERS, "X-Sequence": str(self._feed.last_seq)}
        media_type = streaming.NDJSON if as_lines else streaming.SSE
        return StreamingResponse(write(self._feed, after, wanted), headers=headers, media_type=media_type)

    async def stats(self, request: Request) -> Response:
        """`GET /stats`."""
        parameters.check_names(request.query_params, ())
        head = self._index.head
        by_status = {status.value: self._index.statuses[status.value] for status in Status}
        by_core = {core.value: 0 for core in CORE.values()}
        for status, count in by_status.items():
            by_core[CORE[Status(status)].value] += count
        journal = {
            "seq": self._journal.last_seq,
            "size_bytes": self._journal.size_bytes,
            "damaged_lines": self._journal.damaged,
            "gaps": head.gaps,
            "forks": head.forks,
        }
        content = {
            "missions": sum(by_status.values()),
            "by_status": by_status,
            "by_core": by_core,
            "records": {"illegal": head.illegal, "unreadable": head.unreadable},
            "journal": journal,
            "lag": self._lag(),
            "readers": self._feed.readers,
            "seq": head.last_seq,
        }
        return json_response(content, headers={"X-Sequence": str(head.last_seq), "Cache-Control": "no-store"})

    async def _reach(self, params: QueryParams, wait_s: float = 0) -> None:
        """Hold the answer back until `min_seq` is reached; raises `NotYet`."""
        least = parameters.number(params, "min_seq", 0)
        if not await self._feed.passed(least - 1, wait_s or _MIN_SEQ_WAIT_S):
            raise NotYet(f"the whiteboard is at {self._feed.last_seq}, not yet at {least}")

    async def _ask(self, question: Callable[[sqlite3.Connection], Page]) -> Page:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, question, self._long_questions)

    def _find(self, name: str) -> Found | None:
        try:
            return query.mission(self._connection, name)
        except NotFound:
            return None

    def _full_id(self, name: str) -> str:
        """Return the id that a prefix stands for; a full id may be one that is still to come."""
        found = self._find(name)
        if found is None and not is_mission_id(name):
            raise NotFound(f"no mission {name[:64]!r} is known here")
        return found.mission_id if found else name

    def _is_over(self, name: str) -> bool:
        found = self._find(name)
        return found is not None and found.status in TERMINAL

    def _wanted(self, params: QueryParams) -> Wanted:
        """Return the test that a record must pass to be sent."""
        missions = frozenset(parameters.tokens(params, "mission_id"))
        queues = frozenset(parameters.tokens(params, "queue"))
        conversations = frozenset(parameters.tokens(params, "conversation"))

        def wanted(record: Record) -> bool:
            if missions and record.mission_id not in missions:
                return False
            if queues and record.subject.split(".")[2] not in queues:
                return False
            return not conversations or query.conversation_of(self._connection, record.mission_id) in conversations

        return wanted if missions or queues or conversations else lambda _: True


def routes(answers: Answers) -> list[Route]:
    """Return the routes of the whiteboard's own resources."""
    return [
        Route("/", answers.root),
        Route("/missions", answers.missions),
        Route("/missions/{mission_id}", answers.mission),
        Route("/missions/{mission_id}/events", answers.mission_events),
        Route("/events", answers.events),
        Route("/stats", answers.stats),
    ]


def _next_link(request: Request, cursor: str) -> str:
    following = request.url.include_query_params(cursor=cursor)
    return f'<{following.path}?{following.query}>; rel="next"'


def _stamped(request: Request, content: Any, version: int, seq: int, more: Mapping[str, str] | None = None) -> Response:
    """Answer with the sequence it reflects, or with 304 where the asker has this version."""
    headers = {"ETag": f'"{version}"', "X-Sequence": str(seq), "Cache-Control": "no-cache", **(more or {})}
    if headers["ETag"] in {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    return json_response(content, headers=headers)
