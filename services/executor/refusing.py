"""What cannot run here, and why: every goal is looked at before any of them runs. No I/O."""

from __future__ import annotations

import difflib
import time

from contracts import references
from contracts.errors import ContractError
from contracts.lifecycle import Status
from contracts.messages import Goal, Mission
from services.executor import runner
from services.executor.registry import Handler, Registry
from services.executor.runner import Outcome


def refused(mission: Mission, registry: Registry) -> Outcome | None:
    """Return why this mission cannot run here, having looked at every goal before any of them runs."""
    if mission.deadline is not None and mission.deadline.timestamp() <= time.time():
        return Outcome(Status.FAILED, runner.DEADLINE_EXCEEDED)
    if not mission.goals:
        return _rejected(runner.BAD_PLAN, "the mission has no goals")
    return bad_reference(mission) or bad_goal(mission, registry) or bad_plan(mission)


def bad_goal(mission: Mission, registry: Registry) -> Outcome | None:
    """Return which goal has no handler here, or params that it cannot take."""
    for goal in mission.goals:
        handler = registry.get(goal.kind)
        if handler is None:
            return _rejected(runner.UNKNOWN_KIND, unknown_kind(goal.kind, registry.kinds))
        try:
            check_params(goal, handler)
        except ContractError as error:
            return _rejected(runner.BAD_PARAMS, f"goal {goal.id}: {error}")
    return None


def check_params(goal: Goal, handler: Handler) -> None:
    """Check params as far as they are known before anything runs; raises `ContractError`."""
    if not references.present(goal.params):
        handler.check(goal.params, frozenset())
        return
    pending = frozenset(reference.param for reference in references.find(goal.params))
    known = {name: value for name, value in goal.params.items() if name not in pending}
    handler.check(references.resolve(known, {}), pending)


def bad_reference(mission: Mission) -> Outcome | None:
    """Return which reference means nothing, or what a goal uses without needing it."""
    try:
        needing_all = references.with_needs(mission.goals)
        if needing_all is mission.goals:  # there are no references, as in most missions
            return None
        for goal, needing in zip(mission.goals, needing_all, strict=True):
            if unmet := needing.needs[len(goal.needs) :]:
                message = f"goal {goal.id}: its params refer to {', '.join(unmet)}: put that into its needs as well"
                return _rejected(runner.BAD_REFERENCE, message)
    except references.BadReference as error:
        return _rejected(runner.BAD_REFERENCE, str(error))
    return None


def bad_plan(mission: Mission) -> Outcome | None:
    """Return why the goals' needs cannot be met: a goal twice, an unknown need, a cycle."""
    if len(mission.goals) == 1 and not mission.goals[0].needs:
        return None
    waiting = {goal.id: set(goal.needs) for goal in mission.goals}
    if len(waiting) < len(mission.goals):
        return _rejected(runner.BAD_PLAN, "two goals have the same id")
    while free := [goal_id for goal_id, needs in waiting.items() if not needs]:
        for goal_id in free:
            del waiting[goal_id]
        for needs in waiting.values():
            needs.difference_update(free)
    if waiting:
        return _rejected(runner.BAD_PLAN, f"goal {next(iter(waiting))} needs what never comes: a cycle or no such goal")
    return None


def unknown_kind(kind: str, known: list[str]) -> str:
    """Say that a kind is unknown, with the nearest known one."""
    nearest = difflib.get_close_matches(kind, known, 1)
    extra = '; it needs: pip install "nats-missions[http]"' if kind.startswith("http.") else ""
    hint = f"; did you mean {nearest[0]!r}?" if nearest else extra
    return f"unknown goal kind {kind!r}{hint}; known: {', '.join(known)}"


def _rejected(reason: str, message: str) -> Outcome:
    return Outcome(Status.REJECTED, reason, error=runner.described("Rejected", message))
