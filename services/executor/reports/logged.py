"""What a handler logs: to the log of its process as ever, and as lines that its goal's next record keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from contracts.messages import LogLine, now
from services.executor.runner import readable

#: What one record holds of a log; more is dropped, the oldest first, and counted.
MAX_LINES = 100
MAX_BYTES = 16 * 1024
MAX_LINE = 1_024

_KEPT = frozenset({"info", "warning", "warn", "error", "err", "critical", "fatal", "exception", "msg"})
_LEVELS = {"warn": "warning", "err": "error", "exception": "error", "fatal": "critical", "msg": "info"}
#: What every line of a try says anyway.
_ANYWAY = frozenset({"mission_id", "goal", "attempt"})


class HandlerLog:
    """A structlog logger whose lines, but for debug, are also told to the executor."""

    def __init__(self, logger: Any, tell: Callable[[LogLine], None], bound: dict[str, Any] | None = None) -> None:
        self._logger = logger
        self._tell = tell
        self._bound = bound or {}

    def bind(self, **values: Any) -> HandlerLog:
        """Return a logger that says these values with every line."""
        return HandlerLog(self._logger.bind(**values), self._tell, self._bound | values)

    new = bind  # who speaks stays bound: a line of nobody helps nobody

    def unbind(self, *names: str) -> HandlerLog:
        """Return a logger that no longer says these values."""
        rest = {name: value for name, value in self._bound.items() if name not in names}
        return HandlerLog(self._logger.unbind(*names), self._tell, rest)

    def try_unbind(self, *names: str) -> HandlerLog:
        """Return a logger that no longer says these values, where it did."""
        return self.unbind(*[name for name in names if name in self._bound])

    def __getattr__(self, name: str) -> Any:
        """Return a method of structlog's logger; one that logs also tells the executor."""
        method = getattr(self._logger, name)
        level = name.removeprefix("a") if name.startswith("a") else name
        if level not in _KEPT:
            return method

        def logging(event: Any = "", *args: Any, **values: Any) -> Any:
            self._tell(_line(_LEVELS.get(level, level), event, args, self._bound | values))
            return method(event, *args, **values)

        return logging


def _line(level: str, event: Any, args: tuple[Any, ...], values: dict[str, Any]) -> LogLine:
    """Write a line as a person reads it: the text, then what was said beside it."""
    error = values.pop("exc_info", None)
    told = [_text(event, args), *(f"{name}={_shown(value)}" for name, value in values.items() if name not in _ANYWAY)]
    if isinstance(error, BaseException):
        told.append(f"{type(error).__name__}: {_shown(error)}")
    return LogLine(at=now(), level=level, text=readable(" ".join(told))[:MAX_LINE])


def _text(event: Any, args: tuple[Any, ...]) -> str:
    text = _shown(event)
    if not args:
        return text
    try:
        return text % args
    except (TypeError, ValueError):
        return text


def _shown(value: Any) -> str:
    """Return a value as text, whatever its own code makes of that."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - user code
        return f"<{type(value).__name__}: {type(error).__name__}>"


class LogBuffer:
    """The newest lines that no record holds yet, as many as one may hold. Not for several threads at once."""

    def __init__(self) -> None:
        self._lines: deque[tuple[LogLine, int]] = deque()  #: each with its size as JSON
        self._bytes = 0
        self._dropped = 0

    def add(self, line: LogLine) -> None:
        """Keep a line; the oldest go where it is one too many."""
        size = len(msgspec.json.encode(line))
        self._lines.append((line, size))
        self._bytes += size
        while len(self._lines) >= MAX_LINES or self._bytes > MAX_BYTES:
            self._bytes -= self._lines.popleft()[1]
            self._dropped += 1

    def take(self) -> tuple[LogLine, ...]:
        """Return what is kept, and begin anew; the first line says how many were dropped."""
        lines = [line for line, _ in self._lines]
        if self._dropped:
            at = lines[0].at if lines else now()
            lines.insert(0, LogLine(at=at, level="warning", text=f"{self._dropped} earlier lines were dropped"))
        self._lines.clear()
        self._bytes = self._dropped = 0
        return tuple(lines)

    def put_back(self, lines: tuple[LogLine, ...]) -> None:
        """Keep lines again that came before those which are here."""
        later = [line for line, _ in self._lines]
        self._lines.clear()
        self._bytes = 0
        for line in (*lines, *later):
            self.add(line)
