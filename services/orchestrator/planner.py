"""From a chat event to a mission. Pure: everything is checked here, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter

from contracts import ids, references
from contracts.errors import ContractError
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, Failure, Goal, Mission, StatusRecord, status_record
from contracts.subjects import DEFAULT_QUEUE, REFUSED_QUEUE
from contracts.topology import ORCHESTRATOR
from services.orchestrator.kinds import Kinds
from services.orchestrator.planners import explicit, phrases, slash
from services.orchestrator.verdict import Refused

Planner = Callable[[ChatEvent, Kinds], tuple[Goal, ...] | Refused | None]

#: Asked in this order; the first that does not answer None decides.
PLANNERS: tuple[Planner, ...] = (explicit.plan, slash.plan, phrases.plan)

_TITLE = 120


def plan(event: ChatEvent, kinds: Kinds, *, now: datetime) -> Mission | Refused:
    """Turn a chat event into the mission it asks for, or say why not and what can be asked.

    `now` is when the broker stored the event, so that a redelivery plans the same bytes. A kind that nobody
    announced is proposed all the same: its executors may come later.
    """
    goals = _with_needs(_goals(event, kinds))
    if isinstance(goals, Refused):
        return goals
    if problem := check(goals):
        return problem
    queue = event.queue or _queue(goals, kinds)
    return queue if isinstance(queue, Refused) else _mission(event, goals, queue, now)


def refused_mission(event: ChatEvent, *, now: datetime) -> Mission:
    """Return the mission that makes a refused chat event visible: it has no goals, and no executor sees its queue."""
    return _mission(event, (), REFUSED_QUEUE, now)


def rejection(mission: Mission, refused: Refused) -> StatusRecord:
    """Return the second and last record of a refused mission."""
    return status_record(
        event_id=ids.record_id(mission.mission_id, 0, 2),
        mission_id=mission.mission_id,
        status=Status.REJECTED,
        actor=ORCHESTRATOR,
        reason=refused.reason,
        error=Failure(type="Refused", message=str(refused)),
        causation_id=mission.causation_id,
    )


def not_understood(kinds: Kinds) -> Refused:
    """Return the refusal of a text that no planner understands."""
    return Refused("not_understood", "I do not understand that.", kinds.help)


def check(goals: tuple[Goal, ...]) -> Refused | None:
    """Return what is wrong with the goals as a whole, naming the goal; None where they can run."""
    for goal in goals:
        try:
            ids.check_kind(goal.kind)
        except ContractError as error:
            return Refused("bad_kind", f"Goal {goal.id}: {error}.", "A kind looks like this: report.build")
    if len(goals) == 1 and not goals[0].needs:
        return None
    return _check_ids(goals) or _check_needs(goals)


def _check_ids(goals: tuple[Goal, ...]) -> Refused | None:
    seen: set[str] = set()
    for goal in goals:
        if goal.id in seen:
            return Refused("duplicate_goal", f"Two goals are called {goal.id}.", "Give every goal its own id.")
        seen.add(goal.id)
    return None


def _check_needs(goals: tuple[Goal, ...]) -> Refused | None:
    known = {goal.id for goal in goals}
    for goal in goals:
        for need in goal.needs:
            if need not in known:
                return Refused("missing_need", f"Goal {goal.id} needs {need}, which is not in this mission.")
    try:
        TopologicalSorter({goal.id: goal.needs for goal in goals}).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        return Refused("cycle", f"Goal {circle[0]} waits for itself: {' -> '.join(circle)}.", _used(goals, circle))
    return None


def _used(goals: tuple[Goal, ...], circle: list[str]) -> str:
    """Name the references that are part of a circle: whoever wrote them may not have thought of them as needs."""
    used = [
        f"Goal {goal.id} uses {reference.text} in param {reference.place}."
        for goal in goals
        if goal.id in circle
        for reference in references.find(goal.params)
        if reference.goal in circle
    ]
    return " ".join([*used[:5], f"{references.HINT.capitalize()}."]) if used else ""


def _with_needs(goals: tuple[Goal, ...] | Refused) -> tuple[Goal, ...] | Refused:
    """Let every goal need what its params refer to."""
    if isinstance(goals, Refused):
        return goals
    try:
        return references.with_needs(goals)
    except references.BadReference as error:
        return Refused("bad_reference", f"G{str(error)[1:]}.")  # a sentence: it begins with the word goal


def _goals(event: ChatEvent, kinds: Kinds) -> tuple[Goal, ...] | Refused:
    for planner in PLANNERS:
        found = planner(event, kinds)
        if found is not None:
            return found
    return not_understood(kinds)


def _queue(goals: tuple[Goal, ...], kinds: Kinds) -> str | Refused:
    """Choose a queue that serves every announced kind: a mission runs in one place."""
    if len(goals) == 1:
        return kinds.queue_of(goals[0].kind)
    served: frozenset[str] | None = None
    for goal in goals:
        announced = kinds.queues.get(goal.kind)
        if announced is None:
            continue
        served = announced if served is None else served & announced
        if not served:
            text = f"Goal {goal.id}: {goal.kind} runs on {', '.join(sorted(announced))}, the goals before it elsewhere."
            return Refused("no_common_queue", text, "Split the goals over several missions, or name a queue.")
    return DEFAULT_QUEUE if served is None or DEFAULT_QUEUE in served else min(served)


def _mission(event: ChatEvent, goals: tuple[Goal, ...], queue: str, now: datetime) -> Mission:
    mission_id = ids.mission_id(event.conversation, event.id)
    return Mission(
        mission_id=mission_id,
        goals=goals,
        event_id=ids.record_id(mission_id, 0, 1),
        at=now,
        title=event.title or _title(event, goals),
        queue=queue,
        conversation=event.conversation,
        requested_by=event.sender,
        deadline=None if event.deadline_s is None else now + timedelta(seconds=event.deadline_s),
        causation_id=event.id,
        on_failure=event.on_failure,
        max_parallel=event.max_parallel,
    )


def _title(event: ChatEvent, goals: tuple[Goal, ...]) -> str:
    """Use the first line of the text, or name the kinds."""
    title = (event.text or "").strip().partition("\n")[0] or ", ".join(goal.kind for goal in goals)
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"
