"""The life of a mission: its statuses and which may follow which.

    proposed ──► active ──► completed
       │          │  ▲ ──► failed | cancelled
       │          ▼  │
       │        waiting ──► failed | cancelled
       └──► rejected | cancelled | failed          (before anybody owned it)

Terminal is final. `active` follows itself: a finished goal, a retry or a new owner are `active` records.
"""

from __future__ import annotations

from enum import StrEnum

from contracts.errors import IllegalTransition


class Status(StrEnum):
    """The closed set of statuses; phase and reason are open."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Core(StrEnum):
    """What a simple reader needs: proposed → active → completed | failed."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


CORE: dict[Status, Core] = {
    Status.PROPOSED: Core.PROPOSED,
    Status.ACTIVE: Core.ACTIVE,
    Status.WAITING: Core.ACTIVE,
    Status.COMPLETED: Core.COMPLETED,
    Status.FAILED: Core.FAILED,
    Status.CANCELLED: Core.FAILED,
    Status.REJECTED: Core.FAILED,
}

#: Which statuses may follow. `None` stands for "no record yet".
TRANSITIONS: dict[Status | None, frozenset[Status]] = {
    None: frozenset({Status.PROPOSED}),
    Status.PROPOSED: frozenset({Status.ACTIVE, Status.FAILED, Status.CANCELLED, Status.REJECTED}),
    Status.ACTIVE: frozenset({Status.ACTIVE, Status.WAITING, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.WAITING: frozenset({Status.ACTIVE, Status.WAITING, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.REJECTED: frozenset(),
}

TERMINAL: frozenset[Status] = frozenset(status for status in Status if not TRANSITIONS[status])


def may_follow(current: Status | None, following: Status) -> bool:
    """Tell whether `following` is a legal next status."""
    return following in TRANSITIONS[current]


def advance(current: Status | None, following: Status) -> Status:
    """Return `following`, or raise `IllegalTransition` where the table does not allow it."""
    if may_follow(current, following):
        return following
    raise IllegalTransition(f"{following} may not follow {current or 'nothing'}")
