from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contracts import codec, headers
from contracts.errors import ContractError
from contracts.lifecycle import TERMINAL, Status, may_follow
from contracts.messages import Command, Goal, Mission, StatusRecord, status_record
from services.orchestrator import commands, deadlines

CANCEL = Command(kind="cancel", mission_id="m", reason="changed my mind")
EXPIRE = Command(kind="expire", mission_id="m")


def head(status: Status, phase: str = "", attempt: int = 2) -> StatusRecord:
    return status_record(event_id="m.2.1", mission_id="m", status=status, actor="x", phase=phase, attempt=attempt)


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [(CANCEL, Status.CANCELLED, "user"), (EXPIRE, Status.FAILED, "deadline_exceeded")],
)
@pytest.mark.parametrize("owned_before", [False, True])
def test_a_mission_nobody_owns_ends_at_once(
    command: Command, status: Status, reason: str, *, owned_before: bool
) -> None:
    waiting = head(Status.WAITING) if owned_before else None
    step = commands.step(command, waiting, causation_id="evt-9")
    assert step.record is not None
    assert (step.record.status, step.record.reason, step.signal) == (status, reason, False)
    assert (step.record.attempt, step.record.causation_id) == (2 if owned_before else 0, "evt-9")
    assert may_follow(Status.WAITING if owned_before else Status.PROPOSED, step.record.status)


def test_the_users_words_are_kept() -> None:
    record = commands.step(CANCEL, None, causation_id="").record
    assert record is not None
    assert record.error is not None
    assert record.error.message == "changed my mind"


@pytest.mark.parametrize(("command", "reason"), [(CANCEL, "user"), (EXPIRE, "deadline_exceeded")])
def test_an_owner_is_asked_to_stop_and_stays_the_owner(command: Command, reason: str) -> None:
    step = commands.step(command, head(Status.ACTIVE), causation_id="")
    assert step.record is not None
    assert (step.record.status, step.record.phase, step.record.reason) == (Status.ACTIVE, "cancelling", reason)
    assert step.record.attempt == 2
    assert step.signal


@pytest.mark.parametrize("command", [CANCEL, EXPIRE])
def test_an_owner_that_is_stopping_is_only_woken_again(command: Command) -> None:
    assert commands.step(command, head(Status.ACTIVE, "cancelling"), causation_id="") == commands.Step(signal=True)


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize("command", [CANCEL, EXPIRE])
def test_terminal_is_final(command: Command, status: Status) -> None:
    assert commands.step(command, head(status), causation_id="") == commands.NOTHING


def test_the_record_of_a_command_has_its_own_event_id() -> None:
    ids = {
        record.event_id
        for command in (CANCEL, EXPIRE)
        for before in (None, head(Status.ACTIVE))
        if (record := commands.step(command, before, causation_id="").record)
    }
    assert len(ids) == 4


def test_an_unknown_command_is_refused_with_what_is_known() -> None:
    with pytest.raises(ContractError, match="cancel"):
        commands.step(Command(kind="retry", mission_id="m"), None, causation_id="")


def test_a_deadline_is_a_schedule_that_outlives_the_streams_age_and_stands_once() -> None:
    deadline = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    mission = Mission(
        mission_id="m", goals=(Goal(id="g1", kind="a"),), event_id="m.0.1", at=deadline - timedelta(hours=1),
        conversation="ops", deadline=deadline,
    )  # fmt: skip
    schedule = deadlines.expiry(mission, deadline)
    assert schedule.subject == "chat.schedules.expire-m"
    assert schedule.headers == {
        headers.SCHEDULE: "@at 2026-01-01T12:00:01.250Z",
        headers.SCHEDULE_TARGET: "chat.due.ops",
        headers.TTL: "never",
        headers.EXPECTED_LAST_SUBJECT_SEQ: "0",
    }
    event = codec.decode_chat_event(schedule.data, conversation="ops", fallback_id="expire-m-1-2", fired=True)
    assert event.command == Command(kind="expire", mission_id="m", reason="deadline_exceeded")
    assert event.id == "expire-m-1-2"
