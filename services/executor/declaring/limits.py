"""How many tries of a kind may run at once: what `@goal` declares with `concurrency` and `concurrency_key`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from pydantic_core import to_json


class BadLimit(ValueError):
    """The limit cannot be meant."""


@dataclass(frozen=True)
class Limit:
    """At most so many tries at once, for each key; an empty `key` counts all of the kind together."""

    most: int
    key: str = ""

    def key_of(self, arguments: Mapping[str, Any]) -> str:
        """Return the key of a try with these arguments; texts stand in it as they are, all else as JSON."""
        return self.key.format_map({name: _text(arguments[name]) for name in _names(self.key)})


def limit(most: Any, key: Any, params: Collection[str]) -> Limit | None:
    """Return the limit that was declared, if any; raises `BadLimit` saying what is wrong."""
    if most is None and not key:
        return None
    most = 1 if most is None else most
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise BadLimit(f"concurrency={most!r}: it is a number of tries, from 1")
    for name in _names(key):
        if name not in params:
            known = ", ".join(params) or "none"
            raise BadLimit(f"concurrency_key {key!r} names {name!r}, which is no parameter; there are: {known}")
    return Limit(most, key)


def _names(key: Any) -> list[str]:
    """Return the params that a key names; raises `BadLimit` where it is more than names in braces."""
    if not isinstance(key, str):
        raise BadLimit(f'concurrency_key={key!r}: it is a text such as "{{customer}}"')
    try:
        pieces = list(Formatter().parse(key))
    except ValueError as error:
        raise BadLimit(f"concurrency_key {key!r}: {error}") from error
    for _, name, form, conversion in pieces:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise BadLimit(f"concurrency_key {key!r}: only names of params may stand in braces")
    return [name for _, name, _, _ in pieces if name is not None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()
