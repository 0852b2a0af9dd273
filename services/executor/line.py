"""The line between a handler and its executor: what it is told at its start, and what it says while it runs.

A handler in this process speaks into a `Report` directly; one in a process of its own speaks into a socket, at whose
other end the same `Report` listens.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from contracts.messages import Answer, GoalStatus, Progress


class Progressed(Struct, frozen=True, tag=True):
    """How far the handler is."""

    progress: Progress


#: Everything a handler can say while it runs: tagged, so that it crosses a socket as JSON.
Said = Progressed


class Facts(Struct, frozen=True, kw_only=True):
    """What a handler is told about its try."""

    mission_id: str
    goal_id: str
    kind: str
    attempt: int
    fence: int
    deadline: datetime | None = None
    checkpoint: Any = None  #: what an earlier try saved last
    answers: tuple[Answer, ...] = ()  #: to what earlier tries asked


class Line(Protocol):
    """A handler's end of the line; usable from any thread."""

    @property
    def stopped(self) -> bool:
        """Whether the handler was asked to stop."""

    def tell(self, said: Said) -> None:
        """Say something to the executor, without waiting for it."""


class Report:
    """The executor's end: keeps what was said until it is written."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.stopped = False
        self._said: deque[Said] = deque()

    def tell(self, said: Said) -> None:
        """Take what the handler says; called from any thread."""
        self._said.append(said)

    def stop(self) -> None:
        """Ask the handler to stop."""
        self.stopped = True

    def take(self) -> GoalStatus | None:
        """Return what was said since the last call, as the goal's part of a record; None when that is nothing."""
        progress: Progress | None = None
        while self._said:
            progress = self._said.popleft().progress
        if progress is None:
            return None
        facts = self.facts
        return GoalStatus(id=facts.goal_id, kind=facts.kind, status="active", attempt=facts.attempt, progress=progress)
