"""What became of missions between two sequences: which changed, and how."""

from __future__ import annotations

from msgspec import Raw, Struct

from contracts.lifecycle import Core, Status
from contracts.messages import Failure
from services.whiteboard import query
from services.whiteboard.past import Past
from services.whiteboard.view import View

#: So many records are read for one page.
_MOST_RECORDS = 20_000


class Stand(Struct, frozen=True, kw_only=True):
    """Where a mission stood; `seq` is its last record by then."""

    status: Status
    core: Core
    phase: str
    reason: str
    attempt: int
    result: Raw
    error: Failure | None
    seq: int


class GoalChanged(Struct, frozen=True, kw_only=True):
    """A goal that has another status than before, `proposed` where it is new."""

    id: str
    kind: str
    before: str
    after: str


class Changed(Struct, frozen=True, kw_only=True):
    """A mission that changed; `before` is null where it was proposed meanwhile."""

    mission_id: str
    title: str
    queue: str
    conversation: str
    before: Stand | None
    after: Stand
    goals: tuple[GoalChanged, ...]


class Changes(Struct, frozen=True):
    """A part of what changed, and behind which sequence the next part begins; None where there is none."""

    items: list[Changed]
    following: int | None


def stand(view: View) -> Stand:
    """Return where a view stands."""
    return Stand(**{name: getattr(view, name) for name in Stand.__struct_fields__})


def difference(before: View | None, after: View) -> Changed | None:
    """Return how a mission changed, or None where it did not. Pure."""
    if before is not None and before.seq == after.seq:
        return None
    known = {goal.id: goal.status for goal in before.goals} if before else {}
    goals = [
        GoalChanged(id=goal.id, kind=goal.kind, before=known.get(goal.id, "proposed"), after=goal.status)
        for goal in after.goals
    ]
    return Changed(
        mission_id=after.mission_id,
        title=after.title,
        queue=after.queue,
        conversation=after.conversation,
        before=None if before is None else stand(before),
        after=stand(after),
        goals=tuple(goal for goal in goals if goal.before != goal.after),
    )


def between(past: Past, begin: int, end: int, after: int, limit: int) -> Changes:
    """Return what changed after `begin` up to `end`, in the order of the first change, from `after` on.

    Raises `RecordsGone` where the journal begins after `begin`.
    """
    past.check(begin)
    found: list[Changed] = []
    seen: set[str] = set()
    for number, record in enumerate(past.replay(max(begin, after), end)):
        if len(found) == limit or number == _MOST_RECORDS:
            return Changes(found, record.seq - 1)
        if record.is_note or record.mission_id in seen:
            continue
        first_seq = query.first_seq_of(past.connection, record.mission_id)
        if first_seq is None or record.seq < first_seq:  # what came before the proposal changed nothing
            continue
        seen.add(record.mission_id)
        told_before = after > begin and query.places(past.connection, first_seq, begin, 1, after)
        if not told_before and (change := _change(past, record.mission_id, begin, end)):
            found.append(change)
    return Changes(found, None)


def _change(past: Past, mission_id: str, begin: int, end: int) -> Changed | None:
    then = past.view(mission_id, end)
    return None if then is None else difference(past.view(mission_id, begin), then)
