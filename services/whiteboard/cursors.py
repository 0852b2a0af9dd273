"""Where a page ended, as text: of which list it is, and where its next page begins."""

from __future__ import annotations

import base64
import binascii
import re

from services.whiteboard.query import BadParameter

#: The lists that have pages, and how many numbers say where one begins.
MISSIONS = "missions"
RECORDS = "records"
DIFF = "diff"

_CURSOR = re.compile(r"([a-z]+)((?:\.(?:0|[1-9][0-9]{0,17}))+)")


def encode(of: str, *numbers: int) -> str:
    """Return an opaque cursor of a list."""
    text = ".".join([of, *map(str, numbers)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(text: str, of: str) -> tuple[int, ...]:
    """Return the numbers of a cursor that `encode` made for this list; raises `BadParameter` for any other text."""
    try:
        found = _CURSOR.fullmatch(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii"))
    except (binascii.Error, ValueError):
        found = None
    if found is not None:
        numbers = tuple(int(part) for part in found[2].split(".")[1:])
        if encode(of, *numbers) == text:
            return numbers
    raise BadParameter(f"cursor {text[:64]!r} is none of this list", "Pass next_cursor of the page before unchanged")
