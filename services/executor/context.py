"""What a handler is given, and how it steers its goal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from contracts.messages import Progress
from services.executor.runner import readable


class Reject(Exception):
    """Raised by a handler: this goal can never succeed, do not try it again."""


@dataclass(frozen=True)
class Context:
    """One try at one goal, as its handler sees it. All of it may be used from any thread."""

    mission_id: str
    goal_id: str
    kind: str
    attempt: int  #: which try at this goal this is, from 1
    fence: int  #: sequence of the record that made this process the owner: pass it to your own database
    deadline: datetime | None  #: when the whole mission must be over
    _stopped: list[bool] = field(default_factory=list, repr=False)  #: not empty once asked to stop
    _progress: list[Progress] = field(default_factory=list, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same for every try at this goal, in every attempt: hand it to whatever must not happen twice."""
        return f"{self.mission_id}.{self.goal_id}"

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: cancelled, timed out, or the mission belongs to another owner now."""
        return bool(self._stopped)

    @property
    def log(self) -> Any:
        """A logger that names the mission, the goal and the try."""
        return structlog.get_logger().bind(mission_id=self.mission_id, goal=self.goal_id, attempt=self.attempt)

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far it is, as often as you like: at most one record a second is written, the last one counts.

        Raises `ValueError` for what is no number, such as NaN.
        """
        if not (math.isfinite(done) and math.isfinite(total or 0)):
            raise ValueError(f"progress is counted in numbers, not {done} of {total}")
        self._progress[:] = [Progress(done=done, total=total, note=readable(note[:256]))]

    def stop(self) -> None:
        """Ask the handler to stop; called by the executor."""
        self._stopped.append(True)

    def take_progress(self) -> Progress | None:
        """Return what was said since the last call, once; called by the executor."""
        said, self._progress[:] = list(self._progress), []
        return said[-1] if said else None
