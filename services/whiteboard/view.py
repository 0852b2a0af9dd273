"""A mission as its records tell it: `fold(records)` is the view. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw, Struct
from msgspec.structs import replace

from contracts import subjects
from contracts.errors import ContractError, IllegalTransition
from contracts.lifecycle import CORE, TERMINAL, Core, Status, advance
from contracts.messages import Artifact, Failure
from services.whiteboard.record import Record
from services.whiteboard.said import NULL, Change, GoalChange, read_change, read_proposal

#: What a goal is before anybody said something about it, and when nobody ever will.
_NOT_STARTED = "proposed"
_SKIPPED = "skipped"
#: How many lines of a goal's log a view keeps; the journal has all of them.
MAX_LOG = 100
_GOAL_ENDS = frozenset({"completed", "failed", "cancelled", "rejected", _SKIPPED})


class GoalView(Struct, frozen=True, kw_only=True):
    """One goal as it stands; results, params and progress are kept byte for byte."""

    id: str
    kind: str
    status: str = _NOT_STARTED
    attempt: int = 0
    params: Raw = NULL
    needs: tuple[str, ...] = ()
    result: Raw = NULL
    error: Failure | None = None
    progress: Raw = NULL
    question: Raw = NULL  #: what it waits for; null once it was answered
    answer: Raw = NULL
    artifacts: tuple[Artifact, ...] = ()
    log: tuple[Raw, ...] = ()  #: the newest lines that its handler logged, at most `MAX_LOG`
    started_at: str | None = None
    finished_at: str | None = None


class View(Struct, frozen=True, kw_only=True):
    """A mission as it stands; times are the broker's, `seq` is its last record and `first_seq` its proposal."""

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
    goals: tuple[GoalView, ...] = ()
    result: Raw = NULL
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


def fold(records: Iterable[Record], view: View | None = None) -> View | None:
    """Return the mission that these records, in stream order, make of none, or of `view`.

    What breaks the rules changes nothing.
    """
    for record in records:
        try:
            view = apply(view, record)
        except ContractError:
            continue
    return view


def apply(view: View | None, record: Record) -> View:
    """Return the view after one more record of the same mission.

    Raises `IllegalTransition` where the record may not follow, `DecodeError` where it cannot be understood.
    """
    if subjects.is_proposal(record.subject):
        return _proposed(view, record)
    return _changed(view, record)


def _proposed(view: View | None, record: Record) -> View:
    """Begin a view; a mission that has begun and is not over may have its work item published again."""
    proposal = read_proposal(record)
    if view is not None:
        if view.is_over:
            raise IllegalTransition(f"proposed may not follow {view.status}")
        return replace(view, seq=record.seq, updated_at=record.time)
    advance(None, Status.PROPOSED)
    return View(
        mission_id=proposal.mission_id,
        status=Status.PROPOSED,
        core=Core.PROPOSED,
        title=proposal.title,
        queue=proposal.queue,
        conversation=proposal.conversation,
        requested_by=proposal.requested_by,
        goals=tuple(
            GoalView(id=goal.id, kind=goal.kind, params=goal.params, needs=goal.needs) for goal in proposal.goals
        ),
        deadline=proposal.deadline,
        retry_of=proposal.retry_of,
        proposed_at=record.time,
        updated_at=record.time,
        first_seq=record.seq,
        seq=record.seq,
    )


def _changed(view: View | None, record: Record) -> View:
    change = read_change(record)
    status = advance(view.status if view else None, change.status)
    assert view is not None  # noqa: S101 - nothing but a proposal may come first
    over = status in TERMINAL
    begins = status is Status.ACTIVE and view.started_at is None
    return replace(
        view,
        status=status,
        core=CORE[status],
        phase=change.phase,
        reason=change.reason,
        attempt=max(view.attempt, change.attempt),
        goals=_goals(view, change, record.time, over=over),
        result=change.result,
        error=change.error,
        started_at=record.time if begins else view.started_at,
        finished_at=record.time if over else None,
        updated_at=record.time,
        seq=record.seq,
    )


def _goals(view: View, change: Change, time: str, *, over: bool) -> tuple[GoalView, ...]:
    goals = view.goals
    said = _said(view, change)
    if said is not None:
        goals = tuple([_goal(goal, said, time) if goal.id == said.id else goal for goal in goals])
    if over:
        goals = tuple([_ended(goal, change.status, time) for goal in goals])
    return goals


def _said(view: View, change: Change) -> GoalChange | None:
    """Return what a record says about a goal; the outcome of an only goal carries its result once, as the mission's."""
    if change.goal is None:
        return _implied(view, change)
    if len(view.goals) == 1 and change.status is Status.COMPLETED and change.goal.result == NULL:
        return replace(change.goal, result=change.result)
    return change.goal


def _implied(view: View, change: Change) -> GoalChange | None:
    """Return what a record about a mission says about its only goal."""
    begun = view.started_at is not None or change.status is Status.ACTIVE
    if len(view.goals) != 1 or change.status is Status.WAITING or not begun:
        return None
    goal = view.goals[0]
    result = change.result if change.status is Status.COMPLETED else goal.result
    return GoalChange(goal.id, change.status, max(goal.attempt, 1), result, change.error, goal.progress)


def _goal(goal: GoalView, said: GoalChange, time: str) -> GoalView:
    return replace(
        goal,
        status=said.status,
        attempt=said.attempt,
        result=said.result,
        error=said.error,
        progress=said.progress,
        question=NULL if said.answer != NULL else said.question,
        answer=said.answer if said.answer != NULL else goal.answer,
        artifacts=_kept(goal.artifacts, said.artifacts),
        log=(goal.log + said.log)[-MAX_LOG:],
        started_at=(goal.started_at or time) if said.attempt else None,  # 0: queued or skipped, and never tried
        finished_at=time if said.status in _GOAL_ENDS else None,
    )


def _kept(known: tuple[Artifact, ...], said: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """Add artifacts to those of a goal; the last of a name is the one that stands."""
    if not said:
        return known
    return tuple({artifact.name: artifact for artifact in (*known, *said)}.values())


def _ended(goal: GoalView, outcome: Status, time: str) -> GoalView:
    """Return a goal of a mission that is over: nothing is left running or asked, and what never ran is called so."""
    if goal.status in _GOAL_ENDS:
        return goal
    goal = replace(goal, question=NULL)
    if outcome is Status.COMPLETED:
        return replace(goal, status=Status.COMPLETED.value, finished_at=time)
    started = goal.status != _NOT_STARTED
    return replace(goal, status=outcome.value if started else _SKIPPED, finished_at=time if started else None)
