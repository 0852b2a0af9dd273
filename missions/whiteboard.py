"""The whiteboard as a client sees it: missions, their records, and the live feed over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from urllib.parse import unquote

import msgspec

from contracts import ids
from contracts.errors import (
    ContractError,
    Gone,
    MissionsError,
    NotFound,
    PermissionDenied,
    WaitOver,
    WhiteboardUnreachable,
)
from contracts.lifecycle import TERMINAL
from missions.records import Record, from_line
from missions.web import Answer, Web

#: One long poll; the whiteboard itself allows a minute.
_POLL_S = 30.0
_ANSWER_S = 10.0
_READY_S = 3.0
#: A whiteboard that restarts is back within this time, or the follower gives up.
_AWAY_S = 30.0
_AGAIN_S = 0.25
_NOT_FOUND = 404
_ERRORS: dict[int, type[MissionsError]] = {
    400: ContractError,
    401: PermissionDenied,
    403: PermissionDenied,
    _NOT_FOUND: NotFound,
    408: WaitOver,
    410: Gone,
    413: ContractError,
}
_DENIED = (401, 403)
_decode = msgspec.json.Decoder().decode
_decode_items = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_records = msgspec.json.Decoder(list[Record]).decode


class Whiteboard:
    """Asks one whiteboard. Answers are what it sent; its problems are our exceptions."""

    def __init__(self, url: str, token: str = "") -> None:
        self._web = Web(url, token)
        self.url = self._web.url

    async def mission(self, mission_id: str, wait_s: float = 0, *, as_of: str | int | None = None) -> dict[str, Any]:
        """Return the mission with this id, or the only one whose id begins so; raises `NotFound`.

        With `wait_s` the answer is held back until the mission has its outcome, but no longer than that; with `as_of`,
        a sequence or a time, it is the mission as it was then.
        """
        query = {"as_of": as_of} | ({"wait": f"{wait_s:.3f}"} if wait_s else {})
        return _content(await self._web.get(_path(mission_id), query, _ANSWER_S + wait_s))

    async def outcome(self, mission_id: str, seconds: float) -> dict[str, Any]:
        """Return the mission once it has its outcome; raises `WaitOver` when that takes longer."""
        until = monotonic() + seconds
        status = "unknown"
        while (left := until - monotonic()) > 0:
            try:
                mission = await self.mission(mission_id, min(left, _POLL_S))
            except NotFound:
                await asyncio.sleep(min(_AGAIN_S, left))
                continue
            status = mission["status"]
            if status in TERMINAL:
                return mission
        raise WaitOver(f"mission {mission_id} has no outcome after {seconds:g} s: it is {status}")

    async def missions(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of missions, newest first."""
        return _content(await self._web.get("/missions", filters))

    async def why(self, mission_id: str) -> dict[str, Any]:
        """Return why a mission is where it is: `{"summary", "details", "facts", …}`; raises `NotFound`."""
        return _content(await self._web.get(f"{_path(mission_id)}/why"))

    async def stats(self) -> dict[str, Any]:
        """Return the counts."""
        return _content(await self._web.get("/stats"))

    async def ready(self) -> dict[str, Any]:
        """Return what it says of itself, ready or not: `{"ready", "reasons"}`."""
        return _object(await self._web.get("/readyz", seconds=_READY_S))

    async def records(self, mission_id: str) -> list[Record]:
        """Return the records of a mission that are in the journal; none for one that is not known."""
        found: list[Record] = []
        query: dict[str, str] = {}
        while True:
            try:
                page = _content_raw(await self._web.get(f"{_path(mission_id)}/events", query))
            except NotFound:
                return found
            found += _decode_records(page["items"])
            cursor = _decode(page["next_cursor"])
            if cursor is None:
                return found
            query["cursor"] = cursor

    async def artifacts(self, mission_id: str) -> list[dict[str, Any]]:
        """Return what the goals of a mission kept, as `GET /missions/{id}/artifacts` lists it."""
        items: list[dict[str, Any]] = _content(await self._web.get(f"{_path(mission_id)}/artifacts"))["items"]
        return items

    @asynccontextmanager
    async def artifact(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an artifact by the `url` of its item; yield its bytes, a block at a time."""
        async with self._web.download(unquote(url)) as (answer, blocks):
            if not answer.ok:
                raise _problem(answer)
            yield blocks

    async def follow(self, mission_id: str) -> AsyncGenerator[Record]:
        """Yield the records of a mission, those in the journal and those to come, without an end of its own."""
        last = (await self.stats())["seq"]
        for record in await self.records(mission_id):
            last = max(last, record.seq)
            yield record
        async for record in self.feed(last, mission_id=mission_id):
            yield record

    async def feed(self, after: int | None = None, **query: str) -> AsyncGenerator[Record]:
        """Yield the records after a sequence (None: from now on), for ever; resumes where a connection broke off."""
        last = (await self.stats())["seq"] if after is None else after
        away_since: float | None = None
        while True:
            try:
                async with self._web.stream("/events", {"after": last, **query}) as (answer, lines):
                    _check(answer)
                    away_since = None
                    async for line in lines:
                        record = from_line(line)
                        last = record.seq
                        if record.about_a_mission:
                            yield record
            except WhiteboardUnreachable:
                away_since = away_since or monotonic()
                if monotonic() > away_since + _AWAY_S:
                    raise
            await asyncio.sleep(_AGAIN_S)


def _path(mission_id: str) -> str:
    if not ids.is_token(mission_id):
        raise NotFound(f"{mission_id[:64]!r} is no mission id: those are 26 letters and digits, a prefix of 6 will do")
    return f"/missions/{mission_id}"


def _check(answer: Answer) -> None:
    if answer.status in _DENIED:
        raise PermissionDenied(f"the whiteboard answers its feed with HTTP {answer.status}: send a token that may read")
    if not answer.ok:
        raise WhiteboardUnreachable(f"the whiteboard answers its feed with HTTP {answer.status}")


def _content(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a good answer; raise what a bad one says."""
    if answer.ok:
        return _object(answer)
    raise _problem(answer)


def _content_raw(answer: Answer) -> dict[str, msgspec.Raw]:
    if answer.ok:
        return _decode_items(answer.body)
    raise _problem(answer)


def _problem(answer: Answer) -> MissionsError:
    said = _object(answer)
    text = str(said.get("detail") or said.get("title") or f"HTTP {answer.status}").rstrip(".")
    hint = f". {said['hint']}" if said.get("hint") and answer.status != _NOT_FOUND else ""
    return _ERRORS.get(answer.status, WhiteboardUnreachable)(f"{text}{hint}")


def _object(answer: Answer) -> dict[str, Any]:
    try:
        content = _decode(answer.body)
    except msgspec.DecodeError:
        content = None
    if isinstance(content, dict):
        return content
    raise WhiteboardUnreachable(f"what answers there is no whiteboard: HTTP {answer.status} without a JSON object")
