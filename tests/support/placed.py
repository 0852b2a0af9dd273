"""Driving a place where handlers run, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from services.executor.call import Call
from services.executor.executor import Place
from services.executor.registry import Registry
from services.executor.reports.line import Facts, Report


def registry_of(*functions: Callable[..., Any]) -> Registry:
    """Return a registry of these goals alone."""
    registry = Registry()
    for function in functions:
        registry.add(function)
    return registry


class Trial:
    """One try that runs in a place."""

    def __init__(self, place: Place, registry: Registry, kind: str, params: dict[str, Any], grace_s: float) -> None:
        handler = registry.get(kind)
        assert handler is not None
        facts = Facts(mission_id="m", goal_id="g", kind=kind, attempt=1, fence=7)
        self.report = Report(facts)
        self.report.grace_s = handler.placement.cancel_grace_s or grace_s
        self.call = Call(handler, params, handler.validate(params), self.report)
        self.task = asyncio.ensure_future(self._run(place))

    async def _run(self, place: Place) -> Any:
        await place.reserve()
        return msgspec.json.decode(await place.run(self.call))

    async def cancelled(self) -> Report:
        """Cancel it, wait until that is done, and return its report."""
        self.task.cancel()
        await asyncio.wait({self.task})
        assert self.task.cancelled()
        return self.report


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
