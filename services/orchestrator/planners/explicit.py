"""Goals as the chat event lists them."""

from __future__ import annotations

from contracts.messages import ChatEvent, Goal, GoalRequest
from services.orchestrator.kinds import Kinds


def plan(event: ChatEvent, _: Kinds) -> tuple[Goal, ...] | None:
    """Take the goals of the event; one without an id is named by its place: `g1`, `g2`, …

    Goals run side by side except where `needs` says otherwise.
    """
    return tuple(_goal(number, request) for number, request in enumerate(event.goals, 1)) or None


def _goal(number: int, request: GoalRequest) -> Goal:
    return Goal(
        id=request.id or f"g{number}",
        kind=request.kind,
        params=request.params,
        needs=request.needs,
        timeout_s=request.timeout_s,
        retry=request.retry,
        optional=request.optional,
    )
