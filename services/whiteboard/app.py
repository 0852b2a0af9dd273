"""What the whiteboard answers over HTTP. Every answer says the sequence that it reflects."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contracts.errors import NotFound
from contracts.ids import is_mission_id
from contracts.lifecycle import TERMINAL
from services.runtime.http import json_response
from services.whiteboard import changes, choosing, cursors, parameters, query, shapes, stats, streaming, why
from services.whiteboard.choosing import Filter, Range
from services.whiteboard.facts import Serving
from services.whiteboard.feed import Feed, Missed
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.moments import first_at
from services.whiteboard.past import Past
from services.whiteboard.problems import Busy, NotYet
from services.whiteboard.query import BadParameter, Page
from services.whiteboard.selecting import Selector
from services.whiteboard.stamping import following, head_of, stamped
from services.whiteboard.view import View

_LONGEST_WAIT_S = 60.0
#: How long an answer is held back until `min_seq` is reached, where no `wait` says otherwise.
_MIN_SEQ_WAIT_S = 5.0
#: How long a long question waits for its turn.
_TURN_WITHIN_S = 5.0

Answer = TypeVar("Answer")
WhoServes = Callable[[str], Awaitable[Serving]]

_decode_view = msgspec.json.Decoder(View).decode


class Answers:
    """The answers to `GET`; lives on the event loop, long questions go to a thread of their own."""

    def __init__(
        self, journal: Journal, index: Index, feed: Feed, lag: Callable[[], int | None], who_serves: WhoServes
    ) -> None:
        self._journal = journal
        self._index = index
        self._feed = feed
        self._lag = lag
        self._who_serves = who_serves
        self._connection = query.connect(index.path)
        self._long_questions = query.connect(index.path)
        self._past = Past(self._long_questions, journal)
        self._selector = Selector(self._connection)
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
            "diff": "/diff",
            "stats": "/stats",
            "ready": "/readyz",
            "say": "/chat/integrated",
            "openapi": "/openapi.json",
        }
        return json_response({"service": "missions whiteboard", "links": links, "seq": self._feed.last_seq})

    async def missions(self, request: Request) -> Response:
        """`GET /missions`."""
        wanted = parameters.filter_of(request.query_params)
        await self._reach(request.query_params)
        page = await self._ask(lambda: self._page(wanted))
        last = None if page.following is None else (page.following,)
        cursor, links = following(request, cursors.MISSIONS, last)
        content = {"items": page.items, "next_cursor": cursor, "seq": page.seq}
        return stamped(request, content, page.seq, page.seq, links)

    async def mission(self, request: Request) -> Response:
        """`GET /missions/{id}`."""
        name = request.path_params["mission_id"]
        # a look-up by key is done on the event loop: it reads a few pages, and a thread would cost more than all of it
        if request.scope["query_string"] and (past := await self._asked_more(request, name)):
            return past
        found = query.mission(self._connection, name)
        return stamped(request, msgspec.Raw(found.view), found.seq, max(self._feed.last_seq, found.seq))

    async def _asked_more(self, request: Request, name: str) -> Response | None:
        """Answer what was asked of the past, or hold the answer back as long as was asked for."""
        params = request.query_params
        parameters.check_names(params, parameters.MISSION)
        at = parameters.moment(params, "as_of")
        wait_s = parameters.seconds(params, "wait", _LONGEST_WAIT_S)
        if at is not None and wait_s:
            raise BadParameter("as_of and wait exclude each other", "The past does not change: leave wait out")
        await self._reach(params, wait_s)
        if at is not None:
            return await self._mission_at(request, name, at)
        if wait_s:
            await self._feed.outcome(self.full_id(name), lambda: self._is_over(name), wait_s)
        return None

    async def mission_events(self, request: Request) -> Response:
        """`GET /missions/{id}/events`."""
        params = request.query_params
        parameters.check_names(params, parameters.RECORDS)
        limit = parameters.number(params, "limit", choosing.MOST_ITEMS, most=choosing.MOST_ITEMS, least=1)
        (after,) = parameters.cursor(params, cursors.RECORDS) or (0,)
        await self._reach(params)
        found = query.mission(self._connection, request.path_params["mission_id"])
        places = query.places(self._connection, found.first_seq, after, limit + 1)
        records = await asyncio.to_thread(lambda: [self._journal.read(*place) for place in places[:limit]])
        items = [msgspec.Raw(record.line) for record in records if record is not None]
        gaps = [Missed(seq, seq) for (seq, _), record in zip(places, records, strict=False) if record is None]
        cut, _ = query.cut(self._connection)
        if max(after, found.first_seq - 1) < cut:
            gaps.insert(0, Missed(max(after + 1, found.first_seq), cut))
        last = (places[limit - 1][0],) if len(places) > limit else None
        cursor, links = following(request, cursors.RECORDS, last)
        content = {
            "mission_id": found.mission_id,
            "items": items,
            "gaps": gaps,
            "next_cursor": cursor,
            "seq": found.seq,
        }
        return stamped(request, content, found.seq, max(self._feed.last_seq, found.seq), links)

    async def mission_why(self, request: Request) -> Response:
        """`GET /missions/{id}/why`."""
        params = request.query_params
        parameters.check_names(params, (parameters.MIN_SEQ,))
        await self._reach(params)
        found = query.mission(self._connection, request.path_params["mission_id"])
        view = _decode_view(found.view)
        serving = None if view.is_over else await self._who_serves(view.queue)
        if serving is not None:  # the view must not be older than what the broker says
            found = query.mission(self._connection, request.path_params["mission_id"])
            view = _decode_view(found.view)
        records = await self._ask(lambda: self._past.records(found.first_seq, found.seq))
        headers = {"X-Sequence": str(found.seq), "Cache-Control": "no-store"}
        return json_response(why.explain(view, records, serving, datetime.now(UTC)), headers=headers)

    async def diff(self, request: Request) -> Response:
        """`GET /diff`."""
        params = request.query_params
        parameters.check_names(params, parameters.DIFF)
        moments = (parameters.moment(params, "from"), parameters.moment(params, "to"))
        limit = parameters.number(params, "limit", choosing.DEFAULT_LIMIT, most=choosing.MOST_ITEMS, least=1)
        after, until = parameters.cursor(params, cursors.DIFF) or (0, moments[1])
        if moments[0] is None:
            raise BadParameter("from is missing", "Name a sequence or a time: ?from=2026-01-31T14:03:00Z")
        await self._reach(params)
        begin, end, found = await self._ask(lambda: self._between((moments[0], until), after, limit))
        last = None if found.following is None else (found.following, end)  # the next page ends where this one does
        cursor, links = following(request, cursors.DIFF, last)
        content = {"items": found.items, "next_cursor": cursor, "begin": begin, "end": end, "seq": self._feed.last_seq}
        return json_response(content, headers={"X-Sequence": str(end), "Cache-Control": "no-cache", **links})

    async def events(self, request: Request) -> Response:
        """`GET /events`: server-sent events, or NDJSON where that is what the reader accepts."""
        params = request.query_params
        selection = parameters.selection_of(params)
        missions = frozenset(self.full_id(name) for name in selection.mission_id)
        wanted = self._selector.wanting(msgspec.structs.replace(selection, mission_id=missions))
        seen = self._feed.last_seq
        resumed = parameters.resume_after(params, request.headers.get("last-event-id"))
        as_lines = streaming.NDJSON in request.headers.get("accept", "")
        headers = {**streaming.HEADERS, "X-Sequence": str(seen)}
        media_type = streaming.NDJSON if as_lines else streaming.SSE
        if request.method == "HEAD":  # what never ends would keep the connection from the next request
            return head_of(headers, media_type)
        write = streaming.ndjson if as_lines else streaming.sse
        stream = write(self._feed, seen if resumed is None else resumed, wanted)
        return StreamingResponse(stream, headers=headers, media_type=media_type)

    async def stats(self, request: Request) -> Response:
        """`GET /stats`."""
        parameters.check_names(request.query_params, ())
        head, statuses = self._index.head, Counter(self._index.statuses)
        counts = await self._ask(lambda: stats.counts(self._long_questions, statuses, datetime.now(UTC)))
        content = shapes.Stats(
            **{name: getattr(counts, name) for name in counts.__struct_fields__},
            records=shapes.RecordCounts(head.illegal, head.unreadable),
            journal=shapes.JournalState(
                seq=self._journal.last_seq,
                first_seq=self._journal.cut.last_seq + 1,
                size_bytes=self._journal.size_bytes,
                damaged_lines=self._journal.damaged,
                gaps=head.gaps,
                forks=head.forks,
            ),
            lag=self._lag(),
            readers=self._feed.readers,
            seq=head.last_seq,
        )
        return json_response(content, headers={"X-Sequence": str(head.last_seq), "Cache-Control": "no-store"})

    async def _mission_at(self, request: Request, name: str, at: int | str) -> Response:
        def asked() -> tuple[View, int]:
            seq = self._seq_of(at)
            return self._past.mission(name, seq), seq

        view, seq = await self._ask(asked)
        return stamped(request, view, view.seq, seq)

    def _page(self, wanted: Filter) -> Page:
        """Answer in the thread of long questions."""
        within = self._range(wanted)
        if wanted.as_of is None:
            return query.page(self._long_questions, wanted, within)
        return self._past.page(wanted, within, self._seq_of(wanted.as_of))

    def _between(
        self, moments: tuple[int | str | None, int | str | None], after: int, limit: int
    ) -> tuple[int, int, changes.Changes]:
        begin, end = (self._feed.last_seq if moment is None else self._seq_of(moment) for moment in moments)
        if begin > end:
            raise BadParameter(f"from, sequence {begin}, is after to, sequence {end}", "Ask for them in their order")
        return begin, end, changes.between(self._past, begin, end, after, limit)

    def _range(self, wanted: Filter) -> Range:
        """Return between which sequences the wanted missions were proposed."""
        low = first_at(self._long_questions, self._journal, wanted.since) if wanted.since else 0
        high = first_at(self._long_questions, self._journal, wanted.until) if wanted.until else choosing.LAST
        return Range(low, high if wanted.before is None else min(high, wanted.before))

    def _seq_of(self, moment: int | str) -> int:
        """Return the sequence that a moment stands for: the last one then; raises `NotYet`."""
        seen = query.reflected(self._long_questions)
        if isinstance(moment, str):
            self._past.check(moment)
            return first_at(self._long_questions, self._journal, moment, after=True) - 1
        if moment > seen:
            raise NotYet(f"the whiteboard is at {seen}, not yet at {moment}")
        return moment

    async def _reach(self, params: QueryParams, wait_s: float = 0) -> None:
        """Hold the answer back until `min_seq` is reached; raises `NotYet`."""
        least = parameters.number(params, "min_seq", 0)
        if not await self._feed.passed(least - 1, wait_s or _MIN_SEQ_WAIT_S):
            raise NotYet(f"the whiteboard is at {self._feed.last_seq}, not yet at {least}")

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask in the thread of long questions; raises `Busy` where the turn comes too late, so that no line grows."""
        asked_at = monotonic()

        def answer() -> Answer:
            if monotonic() > asked_at + _TURN_WITHIN_S:
                raise Busy
            return question()

        return await asyncio.get_running_loop().run_in_executor(self._thread, answer)

    def full_id(self, name: str) -> str:
        """Return the id that a prefix stands for; a full one may be still to come. Raises what `query.mission` does."""
        return name if is_mission_id(name) else query.mission(self._connection, name).mission_id

    def _is_over(self, mission_id: str) -> bool:
        try:
            return query.mission(self._connection, mission_id).status in TERMINAL
        except NotFound:
            return False
