"""A mission as a test sees it: what the whiteboard, or the broker, tells of it, with types.

The whiteboard's own view keeps values byte for byte, for it only passes them on; here they are Python's. A client does
not import the whiteboard, so these are types of their own, and a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from contracts.lifecycle import TERMINAL, Core, Status
from contracts.messages import Artifact, Failure


class SeenGoal(Struct, frozen=True, kw_only=True):
    """One goal as it stands; `attempt` counts its tries, `log` is what its handler logged."""

    id: str
    kind: str
    status: str
    attempt: int = 0
    params: Any = None
    needs: tuple[str, ...] = ()
    result: Any = None
    error: Failure | None = None
    progress: Any = None
    question: Any = None
    answer: Any = None
    artifacts: tuple[Artifact, ...] = ()
    log: tuple[Any, ...] = ()
    started_at: str | None = None
    finished_at: str | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """A mission as it stands; `seq` is its last record, `attempt` the number of its owners so far."""

    mission_id: str
    status: Status
    core: Core
    phase: str = ""
    reason: str = ""
    title: str = ""
    queue: str
    conversation: str
    requested_by: str = ""
    attempt: int = 0
    goals: tuple[SeenGoal, ...] = ()
    result: Any = None
    error: Failure | None = None
    deadline: str | None = None
    retry_of: str = ""
    proposed_at: str
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str
    first_seq: int
    seq: int

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome."""
        return self.status in TERMINAL

    def __str__(self) -> str:
        """Say what it is, and why."""
        return f"mission {self.mission_id} is {self.status}{self._because}"

    def __repr__(self) -> str:
        """Say first what became of it, and why: a failed assertion shows the beginning."""
        goals = ", ".join(f"{goal.id} {goal.kind} {goal.status}" for goal in self.goals)
        result = f", result {self.result!r}" if self.result is not None else ""
        return f"<{self.status}{self._because}: mission {self.mission_id}{result}, goals: {goals or 'none'}>"

    @property
    def _because(self) -> str:
        why = self.reason + (f": {self.error.message}" if self.error else "")
        return f" ({why})" if why else ""


def seen(view: Mapping[str, Any]) -> Seen:
    """Return what the client read, with types."""
    return msgspec.convert(view, Seen)
