"""The lines of a log that tell most, as a person reads them."""

from __future__ import annotations

import re

from missions.service_process import logged

_LAST = 5
_TROUBLES = 5
_WIDTH = 400
_TROUBLE = frozenset({"warning", "error", "critical"})
#: How nats-server marks what is wrong.
_BROKER_TROUBLE = re.compile(r"\[(WRN|ERR|FTL)\]")
_TOLD_APART = ("timestamp", "level", "event", "service", "exception")


def telling(log: str) -> list[str]:
    """Return the last lines, and those before them that tell of trouble, each cut to a line that can be read."""
    lines = [line for line in log.splitlines() if line.strip()]
    troubles = [line for line in lines[:-_LAST] if _is_trouble(line)][-_TROUBLES:]
    return [_readable(line)[:_WIDTH] for line in (*troubles, *lines[-_LAST:])] or ["it said nothing"]


def _is_trouble(line: str) -> bool:
    said = logged(line)
    if said is None:
        return bool(_BROKER_TROUBLE.search(line)) or not line.startswith(("[", "{"))
    return said.get("level") in _TROUBLE


def _readable(line: str) -> str:
    """Return a JSON line as time, level, event and values; of a traceback its last line."""
    said = logged(line)
    if said is None:
        return line
    values = [f"{name}={value}" for name, value in said.items() if name not in _TOLD_APART]
    if exception := str(said.get("exception", "")).strip():
        values.insert(0, exception.splitlines()[-1])
    moment = str(said.get("timestamp", "")).partition("T")[2][:12]
    return " ".join([moment, str(said.get("level", "")), str(said.get("event", "")), *values]).strip()
