"""The facts behind why a mission is where it is, from its view, its records and what the broker says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from contracts import codec, ids, subjects
from contracts.lifecycle import Status
from contracts.messages import Failure, Question
from services.whiteboard.record import Record
from services.whiteboard.said import NULL
from services.whiteboard.view import View

_CANCELLING = "cancelling"
_BACKING_OFF = "backing_off"
_RELEASED = "released"
_RETRYING = "retrying"
_QUEUED = "queued"
_ENDED = frozenset({"completed", "skipped"})
_FAILED = frozenset({"failed", "cancelled", "rejected"})


class Serving(Struct, frozen=True, kw_only=True):
    """What the broker says about the executors of a queue; `problem` where it says nothing."""

    exists: bool = True  #: whether an executor ever served it
    alive: bool = False  #: whether one asks for work now, or took some just now
    asking: int = 0  #: open requests for work
    pending: int = 0  #: missions that nobody has been given yet
    owned: int = 0  #: missions that somebody owns
    redelivered: int = 0  #: of them, those that were given out before
    lease_s: float | None = None
    done_to: int = 0  #: up to this sequence no work item of the queue will be given out any more
    problem: str = ""


class Attempt(Struct, frozen=True, kw_only=True):
    """One ownership: who, since when, the last that was heard, and how it ended; empty while it lasts."""

    number: int
    owner: str
    began: str
    last_sign: str
    ended: str = ""


class Blocked(Struct, frozen=True, kw_only=True):
    """A goal that cannot start yet, and the goals it waits for."""

    goal: str
    needs: tuple[str, ...]


class Waiting(Struct, frozen=True, kw_only=True):
    """A question that a goal asks, and until when."""

    goal: str
    question: str
    expires_at: datetime | None = None


class Retrying(Struct, frozen=True, kw_only=True):
    """A goal whose last try failed, and when the next one starts, where that is known."""

    goal: str
    at: datetime | None = None


class Trouble(Struct, frozen=True, kw_only=True):
    """A try that failed, or an outcome: where, why, with which error."""

    seq: int
    goal: str
    reason: str
    error: Failure | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What the words rest on."""

    queue: str
    serving: Serving | None
    since: str  #: time of the last record
    deadline: str | None
    attempts: tuple[Attempt, ...] = ()
    running: tuple[str, ...] = ()  #: goals that run now
    blocked: tuple[Blocked, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    queued: tuple[str, ...] = ()  #: goals that wait for their turn: as many of their kind run as may
    retrying: tuple[Retrying, ...] = ()
    cancelling_since: str | None = None
    first_failure: Trouble | None = None
    lost: bool = False  #: nobody will be given its work item any more, and it has not ended
    put_back: tuple[str, ...] = ()  #: when the orchestrator's sweep put it back into its queue
    dropped_before: int | None = None  #: its records before this sequence are gone, and what they told beside the view


class _Told(Struct, frozen=True):
    """What a status record tells beside its view: who wrote it."""

    status: str = ""
    phase: str = ""
    reason: str = ""
    actor: str = ""
    attempt: int = 0
    goal: dict[str, Any] | None = None
    error: Failure | None = None


_decode = msgspec.json.Decoder(_Told).decode
_decode_question = msgspec.json.Decoder(Question).decode


def gather(view: View, records: Sequence[Record], serving: Serving | None) -> Facts:
    """Return the facts of a mission from its view, its records and what the broker says of its queue."""
    told = [(record, said) for record in records if (said := _read(record)) is not None]
    return Facts(
        queue=view.queue,
        serving=None if view.is_over else serving,
        since=view.updated_at,
        deadline=view.deadline,
        attempts=tuple(_attempts(view, told)),
        running=_goals_that_are(Status.ACTIVE, view),
        blocked=() if view.is_over else tuple(_blocked(view)),
        waiting=() if view.is_over else tuple(_waiting(view)),
        queued=_goals_that_are(_QUEUED, view),
        retrying=tuple(_retrying(view, told)),
        cancelling_since=_cancelling_since(view, told),
        first_failure=_first_failure(told),
        lost=_is_lost(view, records, serving),
        put_back=tuple(record.time for record in _items(records) if ids.is_sweep_id(codec.event_id_of(record.data))),
        dropped_before=_dropped_before(view, records),
    )


def _items(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if subjects.is_proposal(record.subject)]


def _is_lost(view: View, records: Sequence[Record], serving: Serving | None) -> bool:
    """Tell whether the executors of its queue are done with its work item, though it neither waits nor has ended."""
    if view.is_over or serving is None or (view.status is Status.WAITING and any(_waiting(view))):
        return False
    items = _items(records)
    return bool(items) and items[-1].seq <= serving.done_to


def _goals_that_are(status: str, view: View) -> tuple[str, ...]:
    return tuple(goal.id for goal in view.goals if goal.status == status)


def _dropped_before(view: View, records: Sequence[Record]) -> int | None:
    first = records[0].seq if records else view.seq + 1
    return None if first == view.first_seq else first


def _read(record: Record) -> _Told | None:
    try:
        return _decode(record.data)
    except msgspec.MsgspecError:
        return None


def _attempts(view: View, told: Sequence[tuple[Record, _Told]]) -> Iterator[Attempt]:
    """Yield the owners one after the other; the orchestrator's records are no sign of life of an owner."""
    signs: dict[int, list[tuple[Record, _Told]]] = {}
    for record, said in told:
        if said.attempt and said.actor and not said.actor.startswith("orchestrator"):
            signs.setdefault(said.attempt, []).append((record, said))
    last = max(signs, default=0)
    for number, heard in signs.items():
        yield Attempt(
            number=number,
            owner=heard[0][1].actor,
            began=heard[0][0].time,
            last_sign=heard[-1][0].time,
            ended=_how_it_ended(heard[-1][1], is_last=number == last, view=view),
        )


def _how_it_ended(last: _Told, *, is_last: bool, view: View) -> str:
    """Return how an ownership ended; empty while it lasts."""
    if last.phase == _RELEASED:
        return "handed back: its process stopped"
    if last.status == Status.WAITING:
        return "let go: the mission waits"
    if not is_last:
        return "lost: silent for longer than its lease"
    return f"{view.status}: {view.reason}" if view.is_over else ""


def _blocked(view: View) -> Iterator[Blocked]:
    status = {goal.id: goal.status for goal in view.goals}
    for goal in view.goals:
        missing = tuple(need for need in goal.needs if status.get(need) not in _ENDED)
        if missing and goal.status == Status.PROPOSED:
            yield Blocked(goal=goal.id, needs=missing)


def _waiting(view: View) -> Iterator[Waiting]:
    for goal in view.goals:
        if goal.question == NULL:
            continue
        try:
            question = _decode_question(goal.question)
        except msgspec.MsgspecError:
            yield Waiting(goal=goal.id, question="")
        else:
            yield Waiting(goal=goal.id, question=question.text, expires_at=question.expires_at)


def _retrying(view: View, told: Sequence[tuple[Record, _Told]]) -> Iterator[Retrying]:
    times = {
        str(said.goal.get("id")): said.goal.get("retry_at") for _, said in told if said.goal
    }  # the last one stands
    for goal in view.goals:
        if goal.status == _RETRYING:
            yield Retrying(goal=goal.id, at=_time(times.get(goal.id)))


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _cancelling_since(view: View, told: Sequence[tuple[Record, _Told]]) -> str | None:
    if view.is_over:
        return None
    asked = [record.time for record, said in told if said.phase == _CANCELLING and said.attempt == view.attempt]
    return asked[0] if asked else None


def _first_failure(told: Sequence[tuple[Record, _Told]]) -> Trouble | None:
    """Return what failed first: a try, a goal, or the mission itself."""
    for record, said in told:
        goal = said.goal or {}
        if said.phase == _BACKING_OFF or goal.get("status") in _FAILED or said.status in _FAILED:
            error = said.error
            if isinstance(found := goal.get("error"), dict):
                error = Failure(type=str(found.get("type", "")), message=str(found.get("message", "")))
            return Trouble(seq=record.seq, goal=str(goal.get("id", "")), reason=said.reason, error=error)
    return None
