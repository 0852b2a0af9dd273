"""When a mission is lost, and what is done about it: the table, row by row; and what the sweep remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import codec, ids, subjects
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Goal, GoalStatus, Mission, Question, StatusRecord, status_record
from contracts.questions import Asked
from services.orchestrator import lost
from services.orchestrator.found import Found, Head, Item
from services.orchestrator.lost import Limits, Verdict, verdict
from services.orchestrator.open_missions import OpenMissions
from services.runtime.incoming import Stored

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LIMITS = Limits(lease_s=30, goal_timeout_s=3_600)
ITEM, HEAD = 100, 110
LONG = 90.0  #: silent for three leases
LONGER = 3_690.1  #: and for as long as a goal may take
ECHO = Goal(id="g1", kind="echo")
WORK = Mission(mission_id="m", goals=(ECHO,), event_id="m.0.1", at=NOW, causation_id="said")


@dataclass
class Case:
    """A mission that was proposed, claimed, and whose work item is done with; change what matters."""

    status: Status | None = Status.ACTIVE
    phase: str = ""
    reason: str = ""
    mission: Mission | None = WORK
    item_id: str = "m.0.1"
    item: int = ITEM
    head: int = HEAD
    done_to: int = ITEM
    silent_s: float = LONG
    readable: bool = True
    gone: bool = False
    expires_at: datetime | None = None

    def but(self, **fields: Any) -> Case:
        return replace(self, **fields)

    def record(self) -> StatusRecord | None:
        if self.status is None or not self.readable:
            return None
        return status_record(
            event_id="m.1.1",
            mission_id="m",
            status=self.status,
            actor="x",
            attempt=1,
            phase=self.phase,
            reason=self.reason,
        )

    def verdict(self) -> Verdict:
        asked = Asked("m.1.1", "g1", "echo", 1, Question(key="?", text="?", expires_at=self.expires_at))
        return verdict(
            Found(
                mission_id="m",
                item=None if self.gone else Item(self.item, self.item_id, self.mission),
                head=None if self.status is None else Head(self.head, 1, self.record()),
                done_to=self.done_to,
                silent_s=self.silent_s,
                now=NOW,
                questions={"g1": asked} if self.expires_at else {},
            ),
            LIMITS,
        )


OWNED = Case()
NOT_STARTED = Case(status=None)
ASKING = Case(status=Status.WAITING, phase="asking")
ANSWERED = Case(status=Status.WAITING, phase="answered", item=HEAD + 1, done_to=HEAD + 1)
STOPPING = Case(phase="cancelling", reason="user")
SWEPT = {"item_id": ids.sweep_id("m", 90), "item": HEAD + 1, "done_to": HEAD + 1}


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_what_has_ended_stays_as_it_is(status: Status) -> None:
    late = replace_mission(deadline=NOW - timedelta(days=1))
    assert OWNED.but(status=status, mission=late, silent_s=LONGER).verdict() == lost.NOTHING


def replace_mission(**fields: Any) -> Mission:
    return Mission(**{name: getattr(WORK, name) for name in WORK.__struct_fields__} | fields)


@pytest.mark.parametrize("silent_s", [LONG, LONGER, 1e9])
@pytest.mark.parametrize("case", [NOT_STARTED, OWNED, ANSWERED, STOPPING])
def test_whose_work_item_is_not_done_with_is_not_lost_however_silent(case: Case, silent_s: float) -> None:
    assert case.but(done_to=case.item - 1, silent_s=silent_s).verdict() == lost.NOTHING


@pytest.mark.parametrize("silent_s", [LONG, LONGER, 1e9])
def test_a_mission_that_asks_is_not_lost_whatever_became_of_its_work_item(silent_s: float) -> None:
    assert ASKING.but(silent_s=silent_s).verdict() == lost.NOTHING
    assert ASKING.but(silent_s=silent_s, expires_at=NOW + timedelta(days=9)).verdict() == lost.NOTHING


@pytest.mark.parametrize("case", [NOT_STARTED, OWNED, ANSWERED, STOPPING])
def test_nothing_is_lost_before_it_was_silent_for_three_leases(case: Case) -> None:
    assert case.but(silent_s=89.9).verdict() == lost.NOTHING
    assert case.verdict() != lost.NOTHING


@pytest.mark.parametrize("case", [NOT_STARTED, OWNED])
def test_a_mission_whose_work_item_is_done_with_is_put_back(case: Case) -> None:
    found = case.verdict()
    assert found.did == "put_back"
    assert found.again == replace_mission(event_id=ids.sweep_id("m", ITEM), at=NOW)


def test_an_answered_mission_is_put_back_for_its_answer() -> None:
    never_published = ANSWERED.but(item=ITEM, done_to=0)
    for case in (ANSWERED, never_published):
        again = case.verdict().again
        assert again is not None
        assert again.after == "m.1.1"


def test_a_record_that_cannot_be_read_is_an_owner_whose_word_nobody_understands() -> None:
    assert OWNED.but(readable=False).verdict().did == "put_back"
    assert OWNED.but(readable=False, done_to=0, silent_s=1e9).verdict() == lost.NOTHING


@pytest.mark.parametrize("case", [NOT_STARTED.but(**SWEPT), OWNED.but(**SWEPT), OWNED.but(readable=False, **SWEPT)])
def test_what_was_put_back_in_vain_fails_once_no_goal_can_run_any_more(case: Case) -> None:
    assert case.verdict() == lost.NOTHING
    outcome = case.but(silent_s=LONGER).verdict().outcome
    assert outcome is not None
    assert (outcome.status, outcome.reason, outcome.causation_id) == (Status.FAILED, "work_item_lost", "said")


def test_what_was_put_back_and_claimed_may_be_put_back_again() -> None:
    swept = OWNED.but(item_id=ids.sweep_id("m", 90), silent_s=LONGER)
    assert swept.verdict().did == "put_back"


def test_a_goal_of_its_own_longer_timeout_is_waited_for() -> None:
    patient = replace_mission(goals=(Goal(id="g1", kind="echo", timeout_s=86_400),))
    case = OWNED.but(mission=patient, **SWEPT)
    assert case.but(silent_s=86_490).verdict() == lost.NOTHING
    assert case.but(silent_s=86_491).verdict().did == "failed"


def test_a_mission_without_a_proposal_cannot_be_put_back_and_fails() -> None:
    for case in (OWNED.but(gone=True), OWNED.but(mission=None)):
        assert case.verdict() == lost.NOTHING
        assert case.but(silent_s=LONGER).verdict().did == "failed"


@pytest.mark.parametrize(
    ("reason", "status"), [("user", Status.CANCELLED), ("deadline_exceeded", Status.FAILED), ("", Status.CANCELLED)]
)
def test_an_owner_that_was_asked_to_stop_and_is_gone_gets_that_outcome(reason: str, status: Status) -> None:
    found = STOPPING.but(reason=reason).verdict()
    assert found.did == "stopped"
    assert found.outcome is not None
    assert (found.outcome.status, found.outcome.reason, found.outcome.attempt) == (status, reason or "user", 1)


@pytest.mark.parametrize("case", [NOT_STARTED, OWNED, ASKING, ANSWERED])
def test_a_deadline_is_kept_after_a_lease_of_grace(case: Case) -> None:
    for late_s, did in [(31.1, "expired"), (30.9, "")]:
        late = replace_mission(deadline=NOW - timedelta(seconds=late_s))
        found = case.but(mission=late, done_to=0, silent_s=0.0, item=HEAD + 1).verdict()
        assert found.did == did
        assert not found.command or (found.command.kind, found.command.reason) == ("expire", "deadline_exceeded")
    told = STOPPING.but(mission=replace_mission(deadline=NOW - timedelta(days=1)), done_to=0)
    assert told.verdict() == lost.NOTHING


def test_a_question_expires_after_a_lease_of_grace() -> None:
    assert ASKING.but(expires_at=NOW - timedelta(seconds=30)).verdict() == lost.NOTHING
    command = ASKING.but(expires_at=NOW - timedelta(seconds=32)).verdict().command
    assert command is not None
    assert (command.kind, command.goal, command.about) == ("expire", "g1", "m.1.1")


def test_a_refusal_whose_reason_was_never_written_is_rejected() -> None:
    refused = replace_mission(goals=(), queue=subjects.REFUSED_QUEUE)
    assert NOT_STARTED.but(mission=refused, done_to=0).verdict().did == "rejected"
    assert NOT_STARTED.but(mission=replace_mission(goals=()), done_to=0).verdict() == lost.NOTHING


# What the sweep remembers


def stored(seq: int, subject: str, message: Any) -> Stored:
    return Stored(subject, seq, seq, message if isinstance(message, bytes) else codec.encode(message), {})


def told(seq: int, status: Status, **fields: Any) -> Stored:
    record = status_record(event_id=f"m.1.{seq}", mission_id="m", status=status, actor="x", attempt=1, **fields)
    return stored(seq, subjects.status("default", "m"), record)


PROPOSAL = stored(1, subjects.proposed("default", "m"), WORK)


def suspects(*records: Stored, done_to: int = 0, now: datetime = NOW) -> list[str]:
    memory = OpenMissions()
    for record in records:
        memory.note(record)
    return [one.mission_id for one in memory.suspects({"default": done_to}, now)]


def test_a_mission_is_suspect_once_its_work_item_is_done_with_and_forgotten_once_it_has_ended() -> None:
    active, over = told(2, Status.ACTIVE), told(3, Status.COMPLETED, reason="ok")
    assert suspects(PROPOSAL, active) == []
    assert suspects(PROPOSAL, active, done_to=1) == ["m"]
    assert suspects(PROPOSAL, active, over, done_to=1) == []
    assert suspects(PROPOSAL, active, stored(4, PROPOSAL.subject, WORK), done_to=3) == []


def test_a_mission_that_asks_is_suspect_only_when_its_question_is_over() -> None:
    question = Question(key="?", text="?", expires_at=NOW)
    asking = GoalStatus(id="g1", kind="echo", status="waiting", question=question)
    waiting = told(3, Status.WAITING, phase="asking", goal=asking)
    assert suspects(PROPOSAL, waiting, done_to=9) == []
    assert suspects(PROPOSAL, waiting, done_to=9, now=NOW + timedelta(seconds=1)) == ["m"]


def test_a_mission_is_suspect_when_its_deadline_is_over() -> None:
    late = stored(1, PROPOSAL.subject, replace_mission(deadline=NOW))
    assert suspects(late) == []
    assert suspects(late, now=NOW + timedelta(seconds=1)) == ["m"]


def test_what_cannot_be_read_leaves_its_mission_open() -> None:
    garbage = stored(2, subjects.status("default", "m"), b"{")
    assert suspects(PROPOSAL, garbage, done_to=1) == ["m"]
    assert suspects(garbage, done_to=1) == ["m"]
