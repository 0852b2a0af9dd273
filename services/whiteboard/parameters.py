"""Query parameters of requests: known names and allowed values, or an error that says which those are."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import QueryParams

from contracts.ids import is_token
from contracts.lifecycle import Core, Status
from services.runtime.openapi import Parameter
from services.whiteboard import choosing, cursors, words
from services.whiteboard.choosing import Filter
from services.whiteboard.moments import written
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
SEARCH = Parameter("q", "Words of id, title, params, result or error: all of them, whole; `word*` is the start of one")
SINCE = Parameter("since", "Proposed at this time or later")
UNTIL = Parameter("until", "Proposed before this time")
LIST = (*OF_MISSIONS, SEARCH, SINCE, UNTIL, AS_OF, LIMIT, CURSOR, MIN_SEQ)
MISSION = (AS_OF, MIN_SEQ, WAIT)
RECORDS = (LIMIT, CURSOR, MIN_SEQ)
DIFF = (
    Parameter("from", f"Changed after {_MOMENT}", required=True),
    Parameter("to", f"Changed up to {_MOMENT}; the last one seen, where it is missing"),
    LIMIT,
    CURSOR,
    MIN_SEQ,
)
FEED = (
    *OF_MISSIONS,
    Parameter("mission_id", "Missions, by id or the start of one", repeats=True),
    Parameter("after", "Resume after this sequence; from now on, where it is missing", _NUMBER),
)
_MOST_VALUES = 20
_LONGEST = 256
_LARGEST = 2**62


def check_names(params: QueryParams, allowed: Iterable[Parameter]) -> None:
    """Raise `BadParameter` for what the resource does not know, what is too long, empty, or said twice."""
    known = {parameter.name: parameter for parameter in allowed if parameter.where == "query"}
    seen: set[str] = set()
    for name, value in params.multi_items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise BadParameter(f"unknown parameter {name[:64]!r}", f"Allowed here: {names}")
        if len(value) > _LONGEST:
            raise BadParameter(f"{name} is longer than {_LONGEST} characters", "Shorten it")
        if not value.strip(" ,"):  # what a script left unset would else answer everything
            raise BadParameter(f"{name} is empty", "Give it a value, or leave it out")
        if name in seen and not known[name].repeats:
            raise BadParameter(f"{name} is said twice", "Say it once")
        seen.add(name)


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


def cursor(params: QueryParams, of: str) -> tuple[int, ...]:
    """Read `cursor`, of this list; nothing where it is missing; raises `BadParameter`."""
    text = params.get("cursor")
    return () if text is None else cursors.decode(text, of)


def resume_after(params: QueryParams, last_event_id: str | None) -> int | None:
    """Return the sequence to resume after: `Last-Event-ID`, which a reconnecting reader sends, before `after`."""
    if last_event_id:
        return _number(last_event_id, "Last-Event-ID", 0, _LARGEST)
    return number(params, "after", 0) if "after" in params else None


def filter_of(params: QueryParams) -> Filter:
    """Read the filters of a list of missions; raises `BadParameter`."""
    check_names(params, LIST)
    q = params.get("q", "")
    if q and not words.asked(q):
        raise BadParameter(f"q={q[:64]!r} has no word in it", "Search for letters and digits")
    return Filter(
        status=_values(params, "status", _STATUSES),
        core=_values(params, "core", _CORES),
        queue=tokens(params, "queue"),
        conversation=tokens(params, "conversation"),
        kind=_values(params, "kind"),
        q=q.strip(),
        since=_time(params, "since"),
        until=_time(params, "until"),
        as_of=moment(params, "as_of"),
        limit=number(params, "limit", choosing.DEFAULT_LIMIT, most=choosing.MOST_ITEMS, least=1),
        before=next(iter(cursor(params, cursors.MISSIONS)), None),
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
    time = written(text)
    if time is None:
        raise BadParameter(f"{name}={text[:64]!r} is neither a sequence nor a time", _how_to_write(text))
    return time


def _time(params: QueryParams, name: str) -> str:
    """Read a time as the index writes it, empty where it is missing; raises `BadParameter`."""
    text = params.get(name)
    if text is None:
        return ""
    time = written(text)
    if time is None:
        raise BadParameter(f"{name}={text[:64]!r} is no time", _how_to_write(text))
    return time


def _how_to_write(text: str) -> str:
    """Say how a time is written; what came with a blank had a plus, which in a URL is one."""
    return "Write it like 2026-01-31T14:03:00Z" + ("; in a URL, + is %2B" if " " in text else "")


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
