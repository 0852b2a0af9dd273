"""Why a mission is where it is, in plain words: its view and the facts in, an answer out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from contracts.lifecycle import Status
from services.whiteboard.facts import Facts, Retrying, Serving, Trouble, Waiting, gather
from services.whiteboard.record import Record
from services.whiteboard.view import View

_RELEASED = "released"
_SEVERAL = 2


class Why(Struct, frozen=True, kw_only=True):
    """The answer: one sentence, what else is to be said, and the facts."""

    mission_id: str
    status: Status
    phase: str
    reason: str
    summary: str
    details: tuple[str, ...]
    facts: Facts
    seq: int


def explain(view: View, records: Sequence[Record], serving: Serving | None, now: datetime | None = None) -> Why:
    """Return why a mission is where it is, from its view, its records and what the broker says of its queue.

    What the broker says was asked for before the view was read: an owner lets go of a work item after its last record.
    """
    facts = gather(view, records, serving)
    return Why(
        mission_id=view.mission_id,
        status=view.status,
        phase=view.phase,
        reason=view.reason,
        summary=_summary(view, facts),
        details=tuple(_details(view, facts, now)),
        facts=facts,
        seq=view.seq,
    )


def _summary(view: View, facts: Facts) -> str:
    """Say in one sentence why it is where it is."""
    if view.is_over:
        return _outcome(view)
    if facts.lost:
        return _lost(facts)
    if view.status is Status.PROPOSED:
        return _unowned("It has not been started", facts)
    return _asked(facts) if view.status is Status.WAITING else _under_way(view, facts)


def _asked(facts: Facts) -> str:
    if not facts.waiting:
        return _unowned("It was answered and has not been taken up again", facts)
    others = len(facts.waiting) - 1
    more = f", and for {others} more" if others else ""
    return f"It waits for an answer: {_question(facts.waiting[0])}{more}"


def _question(asked: Waiting) -> str:
    until = f", until {_written(asked.expires_at)}" if asked.expires_at else ""
    return f"{asked.question!r} (goal {asked.goal}){until}"


def _under_way(view: View, facts: Facts) -> str:
    if facts.cancelling_since:
        return f"Its owner was asked to stop at {facts.cancelling_since} and has not written the outcome yet"
    if view.phase == _RELEASED:
        return _unowned("Its owner's process stopped and handed it back", facts)
    if facts.retrying and not facts.running:
        return f"A try failed; the next one starts {_when(facts.retrying[0])}"
    owner = facts.attempts[-1].owner if facts.attempts else "an executor"
    if facts.queued and not facts.running:
        return f"It waits for its turn at {owner}, where as many of its kind run as may: {', '.join(facts.queued)}"
    goals = f"; running: {', '.join(facts.running)}" if facts.running else ""
    return f"It is owned by {owner}, attempt {view.attempt}{goals}"


def _lost(facts: Facts) -> str:
    """Say what becomes of a mission whose work item nobody will be given any more."""
    if facts.cancelling_since:
        return "It is lost, and was asked to stop: the orchestrator's sweep writes that outcome"
    if facts.put_back and facts.put_back[-1] == facts.since:
        return (
            "It is lost: the orchestrator's sweep put its work item back, and that is gone as well. It fails once "
            "nothing was written of it for as long as a goal may take"
        )
    return (
        f"It is lost: its work item is gone and no outcome was written. The orchestrator's sweep puts it back into the "
        f"queue {facts.queue} once nothing was written of it for three leases"
    )


def _when(retrying: Retrying) -> str:
    return f"at {_written(retrying.at)}" if retrying.at else "after a pause"


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _outcome(view: View) -> str:
    told = f": {view.error.type}: {view.error.message}" if view.error else ""
    return f"It is {view.status}, {view.reason or 'without a reason'}{told}"


def _unowned(begin: str, facts: Facts) -> str:
    """Say why nobody takes it."""
    serving = facts.serving
    if serving is None:
        return begin
    if serving.problem:
        return f"{begin}; why cannot be told: {serving.problem}"
    if not serving.exists:
        return f"{begin}: no executor ever served the queue {facts.queue}"
    if not serving.alive:
        return f"{begin}: nobody serves the queue {facts.queue} now"
    if serving.asking == 0 or serving.pending > serving.asking:
        busy = f"{serving.owned} missions running, {serving.pending} waiting"
        return f"{begin}: the executors of the queue {facts.queue} are busy, {busy}"
    return f"{begin}: the executors of the queue {facts.queue} ask for work, it is about to start"


def _details(view: View, facts: Facts, now: datetime | None) -> Iterator[str]:
    """Say what else matters, what to do included."""
    serving = facts.serving
    unserved = serving is not None and not serving.problem and not (serving.exists and serving.alive)
    if unserved and not view.is_over and not facts.waiting:
        yield f"Start an executor: missions executor --queues {facts.queue}"
    yield from _to_answer(view, facts)
    if facts.dropped_before is not None:
        yield f"Its records before sequence {facts.dropped_before} are gone: nobody knows what else they told"
    yield from _of_goals(facts)
    for attempt in facts.attempts:
        if attempt.ended and not (view.is_over and attempt is facts.attempts[-1]):
            yield f"Attempt {attempt.number} by {attempt.owner}: {attempt.ended}; last sign at {attempt.last_sign}"
    yield from (f"Its work item was lost, and put back at {at}" for at in facts.put_back)
    yield from _of_owner(view, facts)
    if facts.first_failure and not (
        view.is_over and facts.first_failure.seq == view.seq and len(view.goals) < _SEVERAL
    ):
        yield _of_failure(facts.first_failure)
    if facts.deadline and not view.is_over:
        yield _of_deadline(facts.deadline, now)


def _of_deadline(deadline: str, now: datetime | None) -> str:
    if now is None or datetime.fromisoformat(deadline) > now:
        return f"It fails at its deadline, {deadline}"
    return f"It was to end at its deadline, {deadline}, and has not: its owner or the orchestrator's sweep ends it"


def _to_answer(view: View, facts: Facts) -> Iterator[str]:
    """Say how each question is answered; where there are several, which one is meant must be said."""
    several = len(facts.waiting) >= _SEVERAL
    for asked in facts.waiting:
        goal = f" --goal {asked.goal}" if several else ""
        yield f"Answer it: missions answer {view.mission_id} …{goal}" + (f"  {_question(asked)}" if several else "")


def _of_goals(facts: Facts) -> Iterator[str]:
    yield from (f"Goal {blocked.goal} waits for {', '.join(blocked.needs)}" for blocked in facts.blocked)
    if facts.running:
        yield from (f"Goal {queued} waits for its turn" for queued in facts.queued)
    if facts.running or len(facts.retrying) >= _SEVERAL:
        yield from (f"Goal {again.goal} failed and is tried again {_when(again)}" for again in facts.retrying)


def _of_owner(view: View, facts: Facts) -> Iterator[str]:
    if view.is_over or not facts.attempts or facts.attempts[-1].ended:
        return
    yield f"The last record of its owner is of {facts.attempts[-1].last_sign}"
    if facts.serving and not facts.serving.problem and not facts.serving.alive:
        lease = f" of {facts.serving.lease_s:g} s" if facts.serving.lease_s else ""
        yield f"Another executor takes over after the lease{lease}, if its owner is gone"


def _is_told(view: View, trouble: Trouble) -> bool:
    """Tell whether it is the outcome, which the summary tells, and does not leave open of which goal."""
    return view.is_over and trouble.seq == view.seq and len(view.goals) < _SEVERAL


def _of_failure(trouble: Trouble) -> str:
    where = f"goal {trouble.goal}" if trouble.goal else "the mission"
    error = f": {trouble.error.type}: {trouble.error.message}" if trouble.error else ""
    return f"What failed first: {where}, {trouble.reason or 'failed'}, at sequence {trouble.seq}{error}"
