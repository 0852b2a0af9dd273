"""What a mission is found by: its words, and its attributes as terms beside them. Pure.

Words are cut here, not by SQLite, so that the same rule holds for what is searched, for what is asked, and for a view
that was folded a moment ago. A term of an attribute holds a colon, which no word can.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Failure
from services.whiteboard.said import NULL
from services.whiteboard.view import GoalView, View

#: What of one text is searched, and of one mission.
MOST_LETTERS = 8_192
MOST_WORDS = 1_000
LONGEST_WORD = 64
#: The status term of all that is not over: it changes too often to be a term of its own.
OPEN = "open"

_WORD = re.compile(r"\w+")
_ASKED = re.compile(r"(\w+)(\*?)")
_PLAIN = re.compile(r"[a-z0-9_.\-]+")
_decode = msgspec.json.Decoder().decode


def words(text: str) -> list[str]:
    """Return the words of a text, as they are compared: lower case, without accents."""
    return [word[:LONGEST_WORD] for word in _WORD.findall(_folded(text[:MOST_LETTERS]))]


def asked(text: str) -> list[tuple[str, bool]]:
    """Return what a search asks for: words, and whether the beginning of one will do (`word*`)."""
    return [(word[:LONGEST_WORD], star == "*") for word, star in _ASKED.findall(_folded(text))]


def term(name: str, value: str) -> str:
    """Return the term of an attribute; what SQLite would make equal, such as capitals, is kept apart."""
    return f"{name}:{value}" if _PLAIN.fullmatch(value) else f"{name}:={value.encode().hex()}"


def document(view: View) -> str:
    """Return the terms of a mission. Before it is over they never change, so that they can be taken out again."""
    found = dict.fromkeys(_words_of(view))
    terms = [term("queue", view.queue), term("conversation", view.conversation), status_term(view.status)]
    terms += [term("kind", kind) for kind in kinds(view)]
    return " ".join([*terms, *list(found)[:MOST_WORDS]])


def status_term(status: Status) -> str:
    """Return the term of a status."""
    return term("status", status.value if status in TERMINAL else OPEN)


def kinds(view: View) -> list[str]:
    """Return the kinds of a mission's goals, each once."""
    return list(dict.fromkeys(goal.kind for goal in view.goals))


def has_words(view: View, wanted: Iterable[tuple[str, bool]]) -> bool:
    """Tell whether a search finds this view."""
    found = list(dict.fromkeys(_words_of(view)))[:MOST_WORDS]
    known = set(found)
    return all(any(word.startswith(w) for word in found) if prefix else w in known for w, prefix in wanted)


def _words_of(view: View) -> Iterator[str]:
    """Yield the words of a mission: what was asked for, and once it is over what came of it."""
    yield from words(view.title)
    yield from words(view.requested_by)
    for goal in view.goals:
        yield from words(goal.kind)
        yield from _of_json(goal.params)
    if view.is_over:
        yield from words(view.reason)
        yield from _of_error(view.error)
        yield from _of_json(view.result)
        for goal in view.goals:
            yield from _of_goal(goal)


def _of_goal(goal: GoalView) -> Iterator[str]:
    yield from _of_error(goal.error)
    yield from _of_json(goal.result)


def _of_error(error: Failure | None) -> Iterator[str]:
    if error is not None:
        yield from words(error.type)
        yield from words(error.message)


def _of_json(raw: Raw) -> Iterator[str]:
    """Yield the words of a JSON value; only what has escapes must be unpacked for it."""
    if raw == NULL:
        return
    data = bytes(raw)
    if b"\\" in data:
        yield from words(" ".join(_texts(_decode(data))))
    else:
        yield from words(data.decode(errors="replace"))


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
