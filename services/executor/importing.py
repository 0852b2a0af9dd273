"""The moment at which goals are imported: whatever would import them again may not be started in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.errors import SetupError


class _Now(threading.local):
    """What this thread imports now; the innermost is the last."""

    def __init__(self) -> None:
        self.places: list[str] = []


_now = _Now()


@contextmanager
def importing(place: str) -> Iterator[None]:
    """Know, while the block runs, that goals are imported from a file or module."""
    _now.places.append(place)
    try:
        yield
    finally:
        _now.places.pop()


def refuse_to_start(what: str) -> None:
    """Raise `SetupError` where a file of goals starts something as it is imported: its child would do so again."""
    if _now.places:
        raise SetupError(
            f"{_now.places[-1]} starts {what} whenever it is imported, also by what it starts:"
            f' put that below `if __name__ == "__main__":`'
        )
