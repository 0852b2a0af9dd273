"""What a mission is found by: its words, and its attributes as terms beside them. Pure.

Words are cut here, not by SQLite, so that the same rule holds for what is searched, for what is asked, and for a view
that was folded a moment ago. A term of an attribute holds a colon, which no word can.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from contracts.lifecycle import Status
from contracts.messages import Failure
from services.whiteboard.said import NULL
from services.whiteboard.view import View

#: What of one text is searched, and of one mission.
MOST_LETTERS = 8_192
MOST_WORDS = 1_000
LONGEST_WORD = 64
#: So many combinations of a queue, kinds and a status have their terms at hand.
_MOST_KNOWN = 1_024
_WORD = re.compile(rf"\w{{1,{LONGEST_WORD}}}")
_ASKED = re.compile(rf"(\w{{1,{LONGEST_WORD}}})(\*?)")
_PLAIN = re.compile(r"[a-z0-9_.\-]+")
_decode = msgspec.json.Decoder().decode


def words(text: str) -> list[str]:
    """Return the words of a text, as they are compared: lower case, without accents; a longer one counts as several."""
    return _WORD.findall(_folded(text))


def asked(text: str) -> list[tuple[str, bool]]:
    """Return what a search asks for: words, and whether the beginning of one will do (`word*`)."""
    return [(word, star == "*") for word, star in _ASKED.findall(_folded(text))]


def term(name: str, value: str) -> str:
    """Return the term of an attribute; what SQLite would make equal, such as capitals, is kept apart."""
    return f"{name}:{value}" if _PLAIN.fullmatch(value) else f"{name}:={value.encode().hex()}"


def together(terms: Iterable[str]) -> str:
    """Return the term of a queue, a kind and a status, or of two of them, in this order.

    A filter by all of them then reads one list, however long the list of each is.
    """
    return "/".join(terms)


def document(view: View) -> str:
    """Return the terms of a mission."""
    conversation, lasting = term("conversation", view.conversation), _lasting(view.queue, kinds(view))
    return " ".join([conversation, lasting, taken(view), *_searched(view)])


def added(view: View) -> str:
    """Return the terms that a mission has with its new status: of all others, only an outcome brings any."""
    return " ".join([taken(view), *_of_outcome(view, _of_proposal(view))])


def taken(view: View) -> str:
    """Return the terms that a mission has as long as it has its status, and that go with it."""
    return _of_status(view.queue, kinds(view), view.status)


@lru_cache(_MOST_KNOWN)
def _lasting(queue: str, kinds: tuple[str, ...]) -> str:
    of_queue = term("queue", queue)
    terms = [of_queue]
    for kind in kinds:
        named = term("kind", kind)
        terms += [named, together((of_queue, named))]
    return " ".join(terms)


@lru_cache(_MOST_KNOWN)
def _of_status(queue: str, kinds: tuple[str, ...], status: Status) -> str:
    of_status, of_queue = term("status", status.value), term("queue", queue)
    terms = [of_status, together((of_queue, of_status))]
    for kind in kinds:
        named = term("kind", kind)
        terms += [together((named, of_status)), together((of_queue, named, of_status))]
    return " ".join(terms)


def kinds(view: View) -> tuple[str, ...]:
    """Return the kinds of a mission's goals, each once."""
    goals = view.goals
    return (goals[0].kind,) if len(goals) == 1 else tuple(dict.fromkeys(goal.kind for goal in goals))


def has_words(view: View, wanted: Iterable[tuple[str, bool]]) -> bool:
    """Tell whether a search finds this view."""
    found = _searched(view)
    known = set(found)
    return all(any(word.startswith(w) for word in found) if prefix else w in known for w, prefix in wanted)


def _searched(view: View) -> list[str]:
    """Return the words that a mission is found by, each once: no record changes those of the proposal."""
    asked_for = _of_proposal(view)
    return [*asked_for, *_of_outcome(view, asked_for)]


def _of_proposal(view: View) -> list[str]:
    """Return the words of what was asked for."""
    texts = [view.mission_id, view.title, view.requested_by]
    for goal in view.goals:
        texts += [goal.kind, _of_json(goal.params)]
    return _distinct(texts)[:MOST_WORDS]


def _of_outcome(view: View, asked_for: list[str]) -> list[str]:
    """Return the words of what came of a mission, once it is over, beside those of what was asked for."""
    if not view.is_over:
        return []
    texts = [view.reason, _of_error(view.error), _of_json(view.result)]
    for goal in view.goals:
        texts += [_of_error(goal.error), "" if goal.result == view.result else _of_json(goal.result)]
    known = set(asked_for)
    return [word for word in _distinct(texts) if word not in known][: MOST_WORDS - len(asked_for)]


def _distinct(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(words(" ".join([text[:MOST_LETTERS] for text in texts]))))


def _of_error(error: Failure | None) -> str:
    return "" if error is None else f"{error.type} {error.message}"


def _of_json(raw: Raw) -> str:
    """Return a JSON value as text; only what has escapes must be unpacked for it."""
    if raw == NULL:
        return ""
    data = bytes(raw)
    return " ".join(_texts(_decode(data))) if b"\\" in data else data.decode(errors="replace")


def _texts(value: Any) -> Iterator[str]:
    """Yield every text and number in a JSON value; records are nested at most 32 deep."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif value is not None:
        yield str(value)


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join([letter for letter in parts if not unicodedata.combining(letter)])
