"""Phrases such as `say hello to {name}`: compiled once, matched in linear time, no regular expression from outside."""

from __future__ import annotations

import re

from msgspec import Struct

from contracts.errors import ContractError

MAX_PLACEHOLDERS = 8
#: A longer text is no phrase; the bound keeps matching cheap.
MAX_TEXT = 2_000

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_EDGES = " \t\r\n.!?,;:\u2026"
#: Tried only where a run of whitespace starts, and never given back: this is what keeps it linear.
_SPACE = r"(?<!\s)\s++"


class InvalidPhrase(ContractError):
    """The phrase cannot be matched against anything."""


class Phrase(Struct, frozen=True):
    """A phrase of a goal kind; `weight` counts its literal characters."""

    kind: str
    text: str
    weight: int
    pattern: re.Pattern[str]

    def match(self, text: str) -> dict[str, str] | None:
        """Return the params in a text that `trim` went over, or None where the whole text does not match."""
        found = self.pattern.match(text)
        if found is None:
            return None
        params = {name: value.strip() for name, value in found.groupdict().items()}
        return params if all(params.values()) else None


def trim(text: str) -> str:
    """Cut off the whitespace and punctuation around a text."""
    return text.strip(_EDGES)


def compile_phrase(kind: str, text: str) -> Phrase:
    """Compile a phrase; raises `InvalidPhrase` saying what is wrong with it.

    Each placeholder ends at the first place where the literal after it fits and is never tried again (an atomic
    group), which finds a match whenever there is one and needs no backtracking.
    """
    parts = _PLACEHOLDER.split(trim(text))
    literals, names = parts[::2], parts[1::2]
    _check(text, literals, names)
    pattern = [r"\A", _literal(literals[0])]
    for number, name in enumerate(names, 1):
        step = rf"(?P<{name}>.+?){_literal(literals[number])}"
        pattern.append(step if number == len(names) else f"(?>{step})")
    pattern.append(r"\Z")
    weight = sum(len("".join(literal.split())) for literal in literals)
    return Phrase(kind, text, weight, re.compile("".join(pattern), re.IGNORECASE | re.DOTALL))


def _check(text: str, literals: list[str], names: list[str]) -> None:
    if any("{" in literal or "}" in literal for literal in literals):
        raise InvalidPhrase(f"phrase {text!r}: a placeholder is {{name}}, a word of letters, digits and _")
    if len(set(names)) != len(names):
        raise InvalidPhrase(f"phrase {text!r} names a placeholder twice")
    if len(names) > MAX_PLACEHOLDERS:
        raise InvalidPhrase(f"phrase {text!r} has more than {MAX_PLACEHOLDERS} placeholders")
    if not all(literals[1:-1]):
        raise InvalidPhrase(f"phrase {text!r} has two placeholders with nothing between them")
    if not any(character.isalnum() for literal in literals for character in literal):
        raise InvalidPhrase(f"phrase {text!r} has no word of its own: it would match everything")


def _literal(text: str) -> str:
    return _SPACE.join(re.escape(word) for word in re.split(r"\s+", text))
