"""Calling a kind as its executor does: with checked params and a context, but without a broker."""

from __future__ import annotations

from typing import Any

from services.executor.context import Context
from services.executor.loading import load_registry
from services.executor.reports.line import Facts, Report, Told


class KindCall:
    """One try at a goal of a built-in kind; `report` has what it said meanwhile."""

    def __init__(self, kind: str, **params: Any) -> None:
        handler = load_registry(()).get(kind)
        assert handler is not None
        self._handler = handler
        self._arguments = handler.validate(params)
        self.report = Report(Facts(mission_id="m", goal_id="g", kind=kind, attempt=1, fence=1))

    async def result(self) -> Any:
        """Run it to its end."""
        context = Context(self.report.facts, self.report)
        return await self._handler.function(context, **self._arguments)

    def said(self) -> Told | None:
        """Return what it said since the last call."""
        return self.report.take() or None
