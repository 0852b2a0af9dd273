"""The missions that have not ended, as the stream tells them in order: what the sweep remembers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from contracts import subjects
from contracts.lifecycle import TERMINAL, Status
from contracts.questions import ANSWERED
from contracts.subjects import REFUSED_QUEUE
from services.runtime.incoming import Stored

_OVER = frozenset(status.value for status in TERMINAL)


class OpenMission(msgspec.Struct):
    """What the records of a mission have told so far."""

    queue: str
    mission_id: str
    first_seq: int
    item_seq: int = 0  #: of its last work item; 0: none was seen
    deadline: datetime | None = None
    status: str = ""  #: of its last record; empty: there is none, or it cannot be read
    phase: str = ""
    expires_at: datetime | None = None  #: when the last question that was asked expires


class _Question(msgspec.Struct):
    expires_at: datetime | None = None


class _Goal(msgspec.Struct):
    question: _Question | None = None


class _Told(msgspec.Struct):
    """What of a proposal or a status record matters here."""

    status: str = ""
    phase: str = ""
    deadline: datetime | None = None
    goal: _Goal | None = None


_decode = msgspec.json.Decoder(_Told).decode


class OpenMissions:
    """A fold over the stream: a mission is in here from its first record to its outcome."""

    def __init__(self) -> None:
        self._found: dict[str, OpenMission] = {}

    def __len__(self) -> int:
        return len(self._found)

    def note(self, stored: Stored) -> None:
        """Take the next record of the stream in; one that cannot be read leaves its mission open."""
        place = subjects.parse_record(stored.subject)
        told = _read(stored.data)
        if told.status in _OVER:
            self._found.pop(place.mission_id, None)
            return
        known = self._found.get(place.mission_id)
        if known is None:
            known = OpenMission(place.queue, place.mission_id, stored.seq)
            self._found[place.mission_id] = known
        if place.family == "proposed":
            known.item_seq, known.deadline = stored.seq, told.deadline or known.deadline
        else:
            known.status, known.phase = told.status, told.phase
            if told.goal is not None and told.goal.question is not None:
                known.expires_at = told.goal.question.expires_at

    def forget(self, mission_id: str) -> None:
        """Drop a mission that has ended meanwhile."""
        self._found.pop(mission_id, None)

    @property
    def first_seq(self) -> int:
        """The sequence from which on all that is open can be read again; 0 where nothing is."""
        return min((mission.first_seq for mission in self._found.values()), default=0)

    def drop_all(self) -> None:
        """Forget everything."""
        self._found.clear()

    def queues(self) -> set[str]:
        """Return the queues of all open missions."""
        return {mission.queue for mission in self._found.values()}

    def suspects(self, done_to: Mapping[str, int], before: datetime) -> list[OpenMission]:
        """Return those that are worth a look, given how far each queue is done with, and what was to be over by now."""
        return [one for one in self._found.values() if _is_suspect(one, done_to.get(one.queue, 0), before)]


def _is_suspect(one: OpenMission, done_to: int, before: datetime) -> bool:
    if one.deadline is not None and one.deadline < before:
        return True
    if one.status == Status.WAITING and one.phase != ANSWERED:
        return one.expires_at is not None and one.expires_at < before
    return one.item_seq <= done_to or one.queue == REFUSED_QUEUE or one.phase == ANSWERED


def _read(data: bytes) -> _Told:
    try:
        return _decode(data)
    except Exception:  # noqa: BLE001 - outside bytes, RecursionError too: it is enough that it tells no outcome
        return _Told()
