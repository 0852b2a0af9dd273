"""One try at one goal, ready to run wherever its kind belongs. Its result is JSON before it leaves that place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from services.executor import result
from services.executor.context import Context
from services.executor.registry import Handler
from services.executor.reports.line import Facts, Line, Report


class Call(Struct, frozen=True):
    """A handler with what it is given: `arguments` are checked `params`; `report` hears what it says."""

    handler: Handler
    params: Mapping[str, Any]
    arguments: Mapping[str, Any]
    report: Report

    def run(self) -> bytes:
        """Run a sync handler and return its result as JSON; raises what it raises, and `BadResult`."""
        return result.encoded(self._begin())

    async def run_async(self) -> bytes:
        """Run an async handler and return its result as JSON; raises what it raises, and `BadResult`."""
        return result.encoded(await self._begin())

    def _begin(self) -> Any:
        """Call the function; an async one only begins, and must be awaited."""
        return begin(self.handler, self.arguments, self.report.facts, self.report)


def begin(handler: Handler, arguments: Mapping[str, Any], facts: Facts, line: Line) -> Any:
    """Call the function of a handler, in this process or another; an async one only begins, and must be awaited."""
    if handler.wants_context:
        return handler.function(Context(facts, line), **arguments)
    return handler.function(**arguments)
