"""Query parameters of requests: known names and allowed values, or an error that says which those are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime

from starlette.datastructures import QueryParams

from contracts.ids import is_token
from contracts.lifecycle import Core, Status
from services.whiteboard import query
from services.whiteboard.query import BadParameter, Filter

FILTERS = ("status", "core", "queue", "conversation", "kind", "q", "since", "until", "limit", "cursor", "min_seq")
_MOST_VALUES = 20
_LONGEST = 256
_LARGEST = 2**62


def check_names(params: QueryParams, allowed: Iterable[str]) -> None:
    """Raise `BadParameter` for a parameter that the resource does not know, or one of excessive length."""
    known = tuple(allowed)
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
    check_names(params, FILTERS)
    return Filter(
        status=_values(params, "status", [status.value for status in Status]),
        core=_values(params, "core", [core.value for core in Core]),
        queue=tokens(params, "queue"),
        conversation=tokens(params, "conversation"),
        kind=_values(params, "kind"),
        q=params.get("q", ""),
        since=_normal_time(params["since"], "since") if "since" in params else "",
        until=_normal_time(params["until"], "until") if "until" in params else "",
        limit=number(params, "limit", query.DEFAULT_LIMIT, most=query.MOST_ITEMS, least=1),
        before=cursor(params),
    )


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
            return min(int(number), 2**62)
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
