"""Query parameters of requests: known names and allowed values, or an error that says which those are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime

from starlette.datastructures import QueryParams

from contracts.ids import is_token
from contracts.lifecycle import Core, Status
from services.runtime.openapi import Parameter
from services.whiteboard import choosing, words
from services.whiteboard.choosing import Filter
from services.whiteboard.query import BadParameter
from services.whiteboard.selecting import Selection

_STATUSES = [status.value for status in Status]
_CORES = [core.value for core in Core]
_TOKEN = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_NUMBER = {"type": "integer", "minimum": 0}
_MOMENT = "a sequence, or a time like 2026-01-31T14:03:00Z"

MISSION_ID = Parameter("mission_id", "A mission id, or the start of one, at least 6 characters", where="path")
OF_MISSIONS = (
    Parameter("status", "Statuses; repeat it or join by commas", {"enum": _STATUSES}, repeats=True),
    Parameter("core", "Core statuses", {"enum": _CORES}, repeats=True),
    Parameter("queue", "Queues", _TOKEN, repeats=True),
    Parameter("conversation", "Conversations", _TOKEN, repeats=True),
    Parameter("kind", "Kinds of goals", repeats=True),
)
LIMIT = Parameter("limit", "How many at most; more than is allowed is cut", {"type": "integer", "minimum": 1})
CURSOR = Parameter("cursor", "next_cursor of the page before")
MIN_SEQ = Parameter("min_seq", "Hold the answer back until this sequence is seen", _NUMBER)
AS_OF = Parameter("as_of", f"As it was after {_MOMENT}")
WAIT = Parameter("wait", "Hold the answer back until the outcome, at most so many seconds", {"type": "number"})
SEARCH = Parameter("q", "Words of title, params, result or error: all of them, whole; `word*` is the start of one")
SINCE = Parameter("since", "Proposed at this time or later")
UNTIL = Parameter("until", "Proposed before this time")
LIST = (*OF_MISSIONS, SEARCH, SINCE, UNTIL, AS_OF, LIMIT, CURSOR, MIN_SEQ)
MISSION = (AS_OF, MIN_SEQ, WAIT)
RECORDS = (LIMIT, CURSOR, MIN_SEQ)
DIFF = (
    Parameter("from", f"Changed after {_MOMENT}"),
    Parameter("to", f"Changed up to {_MOMENT}; the last one seen, where it is missing"),
    LIMIT,
    CURSOR,
    MIN_SEQ,
)
FEED = (
    *OF_MISSIONS,
    Parameter("mission_id", "Missions", repeats=True),
    Parameter("after", "Resume after this sequence; from now on, where it is missing", _NUMBER),
)
_MOST_VALUES = 20
_LONGEST = 256
_LARGEST = 2**62


def check_names(params: QueryParams, allowed: Iterable[Parameter]) -> None:
    """Raise `BadParameter` for a parameter that the resource does not know, or one of excessive length."""
    known = tuple(parameter.name for parameter in allowed if parameter.where == "query")
    for name, value in params.multi_items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise BadParameter(f"unknown parameter {name[:64]!r}", f"Allowed here: {names}")
        if len(value) > _LONGEST:
            raise BadParameter(f"{name} is longer than {_LONGEST} characters", "Shorten it")


def number(params: QueryParams, name: str, default: int, *, most: int = _LARGEST, least: int = 0) -> int:
    """Read a whole number, cut to `most`; raises `BadParameter`."""
    text = params.get(name)
    if text is None:
        return default
    return _number(text, name, least, most)


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) >= least):  # noqa: PLR2004 - digits of 2^64
        raise BadParameter(f"{name}={text[:64]!r} is no whole number", f"Write a whole number from {least} on")
    return min(int(text), most)


def seconds(params: QueryParams, name: str, most: float) -> float:
    """Read a number of seconds, cut to `most`, 0 where it is missing; raises `BadParameter`."""
    text = params.get(name, "0")
    try:
        value = float(text)
        if value >= 0:  # false for NaN too
            return min(value, most)
    except ValueError:
        pass
    raise BadParameter(f"{name}={text[:64]!r} is no number of seconds", f"Write a number from 0 to {most:g}")


def cursor(params: QueryParams) -> int | None:
    """Read `cursor`; raises `BadParameter`."""
    text = params.get("cursor")
    return None if text is None else _decode_cursor(text)


def resume_after(params: QueryParams, last_event_id: str | None) -> int | None:
    """Return the sequence to resume after: `Last-Event-ID`, which a reconnecting reader sends, before `after`."""
    if last_event_id:
        return _number(last_event_id, "Last-Event-ID", 0, _LARGEST)
    return number(params, "after", 0) if "after" in params else None


def encode_cursor(number: int) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(b"1.%d" % number).decode().rstrip("=")


def filter_of(params: QueryParams) -> Filter:
    """Read the filters of a list of missions; raises `BadParameter`."""
    check_names(params, LIST)
    q = params.get("q", "")
    if q.strip() and not words.asked(q):
        raise BadParameter(f"q={q[:64]!r} has no word in it", "Search for letters and digits")
    return Filter(
        status=_values(params, "status", _STATUSES),
        core=_values(params, "core", _CORES),
        queue=tokens(params, "queue"),
        conversation=tokens(params, "conversation"),
        kind=_values(params, "kind"),
        q=q.strip(),
        since=_normal_time(params["since"], "since") if "since" in params else "",
        until=_normal_time(params["until"], "until") if "until" in params else "",
        as_of=moment(params, "as_of"),
        limit=number(params, "limit", choosing.DEFAULT_LIMIT, most=choosing.MOST_ITEMS, least=1),
        before=cursor(params),
    )


def selection_of(params: QueryParams) -> Selection:
    """Read which records a reader of the feed wants; raises `BadParameter`."""
    check_names(params, FEED)
    return Selection(
        mission_id=frozenset(tokens(params, "mission_id")),
        queue=frozenset(tokens(params, "queue")),
        conversation=frozenset(tokens(params, "conversation")),
        kind=frozenset(_values(params, "kind")),
        status=frozenset(_values(params, "status", _STATUSES)),
        core=frozenset(_values(params, "core", _CORES)),
    )


def moment(params: QueryParams, name: str) -> int | str | None:
    """Read a sequence, or a time as the index writes it; raises `BadParameter`."""
    text = params.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return _number(text, name, 0, _LARGEST)
    return _normal_time(text, name)


def tokens(params: QueryParams, name: str) -> tuple[str, ...]:
    """Read a parameter whose values are tokens of subjects; raises `BadParameter`."""
    values = _values(params, name)
    for value in values:
        if not is_token(value):
            raise BadParameter(f"{name}={value[:64]!r} cannot exist", "Write 1 to 64 of A-Z a-z 0-9 _ -")
    return values


def _values(params: QueryParams, name: str, allowed: list[str] | None = None) -> tuple[str, ...]:
    """Read a parameter that may be repeated and may hold several values, joined by commas."""
    values = tuple(value for text in params.getlist(name) for value in text.split(",") if value)
    if len(values) > _MOST_VALUES:
        raise BadParameter(f"{name} has more than {_MOST_VALUES} values", "Ask for fewer at once")
    for value in values:
        if allowed is not None and value not in allowed:
            raise BadParameter(f"{name}={value[:64]!r} does not exist", f"Allowed: {', '.join(allowed)}")
    return values


def _decode_cursor(text: str) -> int:
    try:
        version, _, number = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").partition(".")
        if version == "1" and number.isdecimal():
            return min(int(number), _LARGEST)
    except (binascii.Error, ValueError):
        pass
    raise BadParameter(f"cursor {text[:64]!r} is none of ours", "Pass next_cursor of the page before unchanged")


def _normal_time(text: str, name: str) -> str:
    """Return a time as the index writes it; raises `BadParameter`."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    except (ValueError, OverflowError):
        pass
    raise BadParameter(f"{name}={text[:64]!r} is no time", "Write it like 2026-01-31T14:03:00Z")
