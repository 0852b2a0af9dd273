"""Which questions of a mission are open: a fold over its records, for whoever waits and whoever answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from contracts.messages import Question, StatusRecord

#: Phases of the records that ask and that answer.
ASKING = "asking"
ANSWERED = "answered"


class Asked(Struct, frozen=True):
    """A question that nobody has answered; `event_id` is the record that asked it, and its name."""

    event_id: str
    goal_id: str
    kind: str
    attempt: int  #: which try at the goal asked
    question: Question


def asked_by(record: StatusRecord) -> Asked | None:
    """Return what a record asks, if it does."""
    goal = record.goal
    if goal is None or goal.question is None:
        return None
    return Asked(record.event_id, goal.id, goal.kind, goal.attempt, goal.question)


def open_questions(records: Iterable[StatusRecord]) -> dict[str, Asked]:
    """Return the open questions of a mission by goal id, in the order in which they were asked."""
    found: dict[str, Asked] = {}
    for record in records:
        if asked := asked_by(record):
            found.pop(asked.goal_id, None)
            found[asked.goal_id] = asked
        elif record.goal is not None and record.goal.answer is not None:
            found.pop(record.goal.id, None)
    return found
