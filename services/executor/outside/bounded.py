"""Text that fits: into a result, a record, a line of progress."""

from __future__ import annotations

import bisect

import msgspec


def head(text: str, most_bytes: int) -> str:
    """Return the beginning of a text that stays within the limit once it is JSON, where a character may take six."""
    if json_bytes(text) <= most_bytes:
        return text
    sizes = range(1, len(text) + 1)
    return text[: bisect.bisect_right(sizes, most_bytes, key=lambda size: json_bytes(text[:size]))]


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes in a JSON document, without its quotes."""
    return len(msgspec.json.encode(text)) - len('""')


class Kept:
    """The first and the last bytes of a stream, and how many there were."""

    def __init__(self, first: int, last: int) -> None:
        self.total = 0
        self._first, self._last = first, last
        self._head, self._tail = bytearray(), bytearray()

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = self._first - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: max(0, len(self._tail) - self._last)]

    @property
    def truncated(self) -> bool:
        """Whether something is missing."""
        return self.total > len(self._head) + len(self._tail)

    def text(self) -> str:
        """Return what was kept; what is no UTF-8 is replaced, and a gap is said."""
        if not self.truncated:
            return bytes(self._head + self._tail).decode(errors="replace")
        left_out = self.total - len(self._head) - len(self._tail)
        parts = [self._head.decode(errors="replace"), f"[{left_out} bytes left out]"]
        return "\n".join([*parts, self._tail.decode(errors="replace")] if self._last else parts)

    def last_line(self) -> str:
        """Return the last line that is not blank."""
        end = bytes(self._tail or self._head)[-_LINE_BYTES:].decode(errors="replace")
        return next((line.strip() for line in reversed(end.splitlines()) if line.strip()), "")


_LINE_BYTES = 1_024
