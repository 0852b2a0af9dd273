"""Where the handler of a kind runs and what it may use there: what `@goal` was told, checked against its function."""

from __future__ import annotations

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

Isolation = Literal["loop", "thread", "process"]

_FITS_NOT = {
    ("loop", False): "isolation='loop' is for async functions: a sync one would hold up all others",
    ("thread", True): "isolation='thread' is for sync functions: an async one needs a loop, or a process",
}


@dataclass(frozen=True)
class Placement:
    """Where a handler runs; what is None is decided by the function, or by the settings.

    `memory_mb`, `cpu_s` and `output_kb` hold for `process` alone. `cancel_grace_s` is how long the handler may take to
    stop once it was asked to.
    """

    isolation: str | None = None
    memory_mb: float | None = None
    cpu_s: float | None = None
    output_kb: float | None = None
    cancel_grace_s: float | None = None

    def of(self, function: Callable[..., Any]) -> Isolation:
        """Return where the function runs; an isolation of its own was checked by `mistakes`."""
        for isolation in get_args(Isolation):
            if isolation == self.isolation:
                return isolation  # type: ignore[no-any-return]  # a member of the Literal
        return "loop" if inspect.iscoroutinefunction(function) else "thread"

    def mistakes(self, function: Callable[..., Any]) -> Iterator[str]:
        """Yield what does not fit: an unknown place, a place for other functions, a limit that cannot hold there."""
        if self.isolation is not None and self.isolation not in get_args(Isolation):
            nearest = difflib.get_close_matches(str(self.isolation), get_args(Isolation), 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(get_args(Isolation))}"
            yield f"no such isolation {self.isolation!r}; {hint}"
        elif unfit := _FITS_NOT.get((str(self.isolation), inspect.iscoroutinefunction(function))):
            yield unfit
        yield from self._wrong_numbers()
        if self.isolation == "process":
            yield from _unreachable(function)

    def _wrong_numbers(self) -> Iterator[str]:
        for name in ("memory_mb", "cpu_s", "output_kb", "cancel_grace_s"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int | float) or not (0 < value < math.inf):
                yield f"{name}={value!r} is not a number above 0"
            elif name != "cancel_grace_s" and self.isolation != "process":
                yield f"{name} needs isolation='process': nothing else can be limited"


def _unreachable(function: Callable[..., Any]) -> Iterator[str]:
    """Yield why a child process could not find the function again."""
    if not sys.platform.startswith("linux"):
        yield "isolation='process' needs Linux"
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    if found is not function:
        yield "isolation='process' needs a function that another process can import: define it at the top of a module"
