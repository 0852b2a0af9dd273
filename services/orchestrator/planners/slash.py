"""The text command `/run kind key=value …`, one goal a line, in order."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from contracts import codec, ids
from contracts.errors import ContractError
from contracts.messages import MAX_GOALS, ChatEvent, Goal
from services.orchestrator.kinds import Kinds
from services.orchestrator.verdict import Refused

COMMAND = "/run"
EXAMPLE = '/run echo text="two words" times=3'

#: A word as a shell sees it: bare, escaped and quoted pieces without whitespace between them.
_WORD = re.compile(r"""(?:[^\s"'\\]++|\\.|"(?:[^"\\]|\\.)*+"|'[^']*+')++""", re.DOTALL)
_BLANKS = re.compile(r"[^\S\n]*+")
_QUOTED = re.compile(r"""\\(?P<bare>.)|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'""", re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_PARAM = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63})=(.*)", re.DOTALL)
_JSON_STARTS = frozenset('{["-0123456789tfn')
_SHOWN = 60


class Word(NamedTuple):
    """A word as written, and where it starts in the text."""

    raw: str
    start: int


class _BadWord(Exception):
    """A word that does not belong where it stands."""

    def __init__(self, word: Word, why: str, example: str = EXAMPLE) -> None:
        super().__init__(why)
        self.word = word
        self.example = example


def plan(event: ChatEvent, _: Kinds) -> tuple[Goal, ...] | Refused | None:
    """Read a text that starts with a slash; each goal needs the one of the line before."""
    text = event.text
    if text is None or not text.lstrip().startswith("/"):
        return None
    try:
        lines = [line for line in _lines(text) if line]
        return tuple(_goal(number, line) for number, line in enumerate(lines, 1))
    except _BadWord as bad:
        return Refused("bad_command", _pointing(text, bad), f"Write it like this: {bad.example}")


def _lines(text: str) -> list[list[Word]]:
    """Split into lines of words; a line ends at a newline outside quotes."""
    lines: list[list[Word]] = [[]]
    at = 0
    while (at := _skip(text, at)) < len(text):
        if text[at] == "\n":
            lines.append([])
            at += 1
            continue
        word = _WORD.match(text, at)
        end = word.end() if word else at
        if end < len(text) and not text[end].isspace():
            what = "a quote" if text[end] != "\\" else "an escape"
            raise _BadWord(Word(text[at:], at), f"{what} is opened here and never closed")
        lines[-1].append(Word(text[at:end], at))
        at = end
    return lines


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _goal(number: int, words: list[Word]) -> Goal:
    if number > MAX_GOALS:
        raise _BadWord(words[0], f"a mission has at most {MAX_GOALS} goals")
    if words[0].raw.lower() != COMMAND:
        raise _BadWord(words[0], f"{COMMAND} starts every line of goals; /answer, /cancel and /retry stand alone")
    if len(words) == 1:
        raise _BadWord(words[0], "the goal kind is missing after it")
    return Goal(
        id=f"g{number}", kind=_kind(words[1]), params=_params(words), needs=(f"g{number - 1}",) if number > 1 else ()
    )


def _kind(word: Word) -> str:
    try:
        return ids.check_kind(word.raw)
    except ContractError as error:
        raise _BadWord(word, "this is no goal kind: one to four words of A-Z a-z 0-9 _ - joined by dots") from error


def _params(words: list[Word]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for word in words[2:]:
        parts = _PARAM.fullmatch(word.raw)
        if parts is None:
            raise _BadWord(word, "this is not key=value", f'{COMMAND} {words[1].raw} key="two words" count=3')
        key, raw = parts.groups()
        if key in params:
            raise _BadWord(word, f"{key} is given twice")
        params[key] = plain_value(raw)
    return params


def plain_value(raw: str) -> Any:
    """Read a value: JSON as written, or JSON without the shell's quotes, or text.

    So `3` and `'3'` are numbers, `"3"` is a JSON string and stays text.
    """
    plain = _unquoted(raw)
    for candidate in (raw, plain) if plain != raw else (raw,):
        if candidate[:1] in _JSON_STARTS:
            try:
                return codec.decode_any(candidate.encode())
            except ContractError:
                continue
    return plain


def _unquoted(raw: str) -> str:
    if "'" not in raw and '"' not in raw and "\\" not in raw:
        return raw
    return _QUOTED.sub(_plain, raw)


def _plain(piece: re.Match[str]) -> str:
    if piece["double"] is not None:
        return _ESCAPED.sub(r"\1", piece["double"])
    return piece["bare"] if piece["bare"] is not None else piece["single"]


def _pointing(text: str, bad: _BadWord) -> str:
    """Show the line up to the bad word, with a mark under it."""
    begin = text.rfind("\n", 0, bad.word.start) + 1
    number = text.count("\n", 0, begin) + 1
    before = text[begin : bad.word.start].lstrip()[-_SHOWN:]
    shown = bad.word.raw.split("\n", 1)[0][:_SHOWN]
    return f"Line {number}: {bad}.\n{before}{shown}\n{' ' * len(before)}{'^' * len(shown)}"
