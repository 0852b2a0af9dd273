"""References: `${goal.path.0.field}` in the params of a goal stands for what an earlier goal gave back. Pure.

A text that is nothing but a reference becomes that value, of whatever type; within a longer text it is written as text.
`$${` is a literal `${`. Everything here takes time and room in proportion to what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from contracts.errors import ContractError
from contracts.messages import Goal

#: What params may come to once their references are resolved, as JSON: a short text may name a large result often.
MAX_RESOLVED_BYTES = 32 * 1024 * 1024

_OPEN = "${"
_LITERAL = "$${"
#: A literal `${`, or a reference; without its end it is neither, which is an error.
_PIECE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]{0,1024})(?P<end>\})?")
_GOAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_SHOWN = 80
_MEMBERS_SHOWN = 10
#: What to write where no reference is meant.
HINT = 'for a literal "${" write "$${"'
_NAMES: dict[type, str] = {str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


class BadReference(ContractError):
    """A reference that means nothing; the message names it and the param, as a JSON pointer."""


class Place(NamedTuple):
    """Where something stands in params: linked, since a pointer is only written when something is wrong."""

    parent: Place | None
    key: str | int

    def __str__(self) -> str:
        """Write it as a JSON pointer (RFC 6901)."""
        keys: list[str] = []
        place: Place | None = self
        while place is not None:
            keys.append(str(place.key)[:_SHOWN].replace("~", "~0").replace("/", "~1"))
            place = place.parent
        return "".join(f"/{key}" for key in reversed(keys))


class Reference(NamedTuple):
    """One reference, as it is written in a text."""

    text: str
    goal: str
    path: tuple[str, ...]
    place: Place

    @property
    def param(self) -> str:
        """The name of the param in which it stands."""
        place = self.place
        while place.parent is not None:
            place = place.parent
        return str(place.key)

    def wrong(self, why: str) -> BadReference:
        """Return the error that says what is wrong with it and where it stands."""
        return _wrong(self.place, self.text, why)


def present(params: Mapping[str, Any]) -> bool:
    """Tell whether there is anything in params to resolve: a reference, or a literal that stands for another text."""
    return any(map(_mentions, params.values()))


def find(params: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield every reference in params, at any depth, in order; raises `BadReference` for one that cannot be read."""
    for place, text in _texts(params):
        for piece in _PIECE.finditer(text):
            if piece[0] != _LITERAL:
                yield _read(piece, place)


def resolve(params: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return params with every reference replaced by what it means, and every literal by what it stands for.

    `results` are plain values by goal id. Raises `BadReference` for a path that is not in its result, saying what is
    there, and where all of it would be larger than `MAX_RESOLVED_BYTES`.
    """
    resolving = _Resolving(results)
    return {key: resolving.value(value, Place(None, key)) for key, value in params.items()}


def escape(text: str) -> str:
    """Return a text that means itself wherever references are understood."""
    return text.replace(_OPEN, _LITERAL)


def with_needs(goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
    """Return the goals, each needing what its params refer to; raises `BadReference` naming the goal and the param."""
    if not any(present(goal.params) for goal in goals):
        return goals
    known = {goal.id for goal in goals}
    return tuple([_with_needs(goal, known) for goal in goals])


def _with_needs(goal: Goal, known: set[str]) -> Goal:
    try:
        missing = dict.fromkeys(_checked(reference, goal, known) for reference in find(goal.params))
    except BadReference as error:
        raise BadReference(f"goal {goal.id}: {error}") from None
    missing = {need: None for need in missing if need not in goal.needs}
    return msgspec.structs.replace(goal, needs=(*goal.needs, *missing)) if missing else goal


def _checked(reference: Reference, goal: Goal, known: set[str]) -> str:
    """Return the goal that a reference means."""
    if reference.goal == goal.id:
        raise reference.wrong(f"a goal cannot use its own result; {HINT}")
    if reference.goal not in known:
        raise reference.wrong(f"there is no goal {reference.goal} in this mission; {HINT}")
    return reference.goal


def _mentions(value: Any) -> bool:
    if isinstance(value, str):
        return _OPEN in value
    if isinstance(value, dict):
        return any(map(_mentions, value.values()))
    return isinstance(value, list | tuple) and any(map(_mentions, value))


def _texts(params: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield every text that may hold a reference."""
    open_: list[tuple[Place, Any]] = [(Place(None, key), params[key]) for key in reversed(list(params))]
    while open_:
        place, value = open_.pop()
        if isinstance(value, str):
            if _OPEN in value:
                yield place, value
        else:
            open_ += [(Place(place, key), member) for key, member in reversed(list(_members(value)))]


def _members(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _read(piece: re.Match[str], place: Place) -> Reference:
    goal, *path = (piece["inside"] or "").split(".")
    if piece["end"] is None:
        raise _wrong(place, piece[0], f"a reference ends with a }}; {HINT}")
    if _GOAL.fullmatch(goal) is None or not all(path):
        raise _wrong(place, piece[0], f"a reference looks like ${{goal}} or ${{goal.field.0}}; {HINT}")
    return Reference(piece[0], goal, tuple(path), place)


def _wrong(place: Place, text: str, why: str) -> BadReference:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return BadReference(f"param {place}: {shown}: {why}")


class _Resolving:
    """One pass over params; counts what they come to."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self._results = results
        self._left = MAX_RESOLVED_BYTES

    def value(self, value: Any, place: Place) -> Any:
        if isinstance(value, str):
            return self._text(value, place) if _OPEN in value else value
        if isinstance(value, dict):
            return {key: self.value(member, Place(place, key)) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(member, Place(place, number)) for number, member in enumerate(value)]
        return value

    def _text(self, text: str, place: Place) -> Any:
        whole = _PIECE.fullmatch(text)
        if whole is not None and whole[0] != _LITERAL:
            return self._meant(_read(whole, place))[0]
        return _PIECE.sub(lambda piece: self._piece(piece, place), text)

    def _piece(self, piece: re.Match[str], place: Place) -> str:
        if piece[0] == _LITERAL:
            return _OPEN
        value, written = self._meant(_read(piece, place))
        return value if isinstance(value, str) else written.decode()

    def _meant(self, reference: Reference) -> tuple[Any, bytes]:
        """Return what a reference means, and the same as JSON."""
        if reference.goal not in self._results:
            raise reference.wrong("that goal has no result")
        value = self._results[reference.goal]
        for depth, name in enumerate(reference.path):
            value = _member(value, name, reference, depth)
        written = msgspec.json.encode(value)
        self._left -= len(written)
        if self._left < 0:
            raise reference.wrong(f"with its result the params have more than {MAX_RESOLVED_BYTES} bytes")
        return value, written


def _member(value: Any, name: str, reference: Reference, depth: int) -> Any:
    """Return one member of a part of a result."""
    if isinstance(value, dict) and name in value:
        return value[name]
    if isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
        return value[int(name)]
    part = ".".join((reference.goal, *reference.path[:depth]))
    raise reference.wrong(f"there is no {name[:_SHOWN]} in {part[:_SHOWN]}, which is {_described(value)}")


def _described(value: Any) -> str:
    """Say what is there, as far as it helps."""
    if isinstance(value, dict):
        names = [str(name)[:_SHOWN] for name in list(value)[:_MEMBERS_SHOWN]]
        more = f" and {len(value) - len(names)} more" if len(value) > len(names) else ""
        return f"an object with {', '.join(names)}{more}" if names else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return _NAMES.get(type(value), "no object")
