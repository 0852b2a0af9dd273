from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.lifecycle import TERMINAL, Status, may_follow
from contracts.messages import Answer, ChatEvent, Command, GoalStatus, Question, StatusRecord, status_record
from contracts.questions import ANSWERED, ASKING, open_questions
from services.orchestrator import answering
from services.orchestrator.commands import NOTHING, Step
from services.orchestrator.verdict import NotDone

EVENT = ChatEvent(id="evt-1", conversation="ops", sender="ann")


def record(
    event_id: str, status: Status, phase: str = "", attempt: int = 1, goal: GoalStatus | None = None
) -> StatusRecord:
    return status_record(
        event_id=event_id, mission_id="m", status=status, actor="x", phase=phase, attempt=attempt, goal=goal
    )


def asking(goal_id: str, event_id: str, status: Status = Status.WAITING, tries: int = 1) -> StatusRecord:
    question = Question(key="k", text=f"{goal_id}?")
    goal = GoalStatus(id=goal_id, kind="x", status="waiting", attempt=tries, question=question)
    return record(event_id, status, ASKING, goal=goal)


ACTIVE = record("m.1.1", Status.ACTIVE)
ASKED = asking("a", "m.1.2")


def command(kind: Any = "answer", **fields: Any) -> Command:
    return Command(kind=kind, mission_id="m", **fields)


def test_an_answer_stands_on_the_question_and_proposes_the_mission_again() -> None:
    step = answering.step(EVENT, command(answer="yes"), [ACTIVE, ASKED])
    assert step.record is not None
    assert step.record.goal is not None
    assert (step.record.status, step.record.phase, step.record.attempt) == (Status.WAITING, ANSWERED, 1)
    assert step.record.goal.answer == Answer(key="k", value="yes", by="ann")
    assert (step.proposes, step.signal) == (step.record.event_id, False)


def test_an_owner_that_still_runs_is_woken_instead() -> None:
    step = answering.step(EVENT, command(answer="yes"), [ACTIVE, asking("a", "m.1.2", Status.ACTIVE)])
    assert step.record is not None
    assert (step.record.status, step.signal, step.proposes) == (Status.ACTIVE, True, "")


def test_a_repeat_only_makes_up_for_a_crash_before_the_proposal() -> None:
    records = [ACTIVE, ASKED]
    first = answering.step(EVENT, command(answer="yes"), records)
    assert first.record is not None
    again = answering.step(EVENT, command(answer="yes"), [*records, first.record])
    assert again == Step(proposes=first.proposes)
    later = [*records, first.record, record("m.2.1", Status.ACTIVE, "resumed", 2)]
    assert answering.step(EVENT, command(answer="yes"), later) == NOTHING


@pytest.mark.parametrize(
    ("records", "goal", "reason"),
    [
        ([], "", "no_question"),
        ([ACTIVE], "", "no_question"),
        ([ACTIVE, ASKED, record("m.c", Status.CANCELLED)], "", "no_question"),
        ([ACTIVE, asking("a", "m.1.2", Status.ACTIVE), record("m.c", Status.ACTIVE, "cancelling")], "", "no_question"),
        ([ACTIVE, ASKED], "b", "which_question"),
        ([ACTIVE, asking("a", "m.1.2", Status.ACTIVE), asking("b", "m.1.3")], "", "which_question"),
    ],
)
def test_an_answer_that_nobody_waits_for_is_refused(records: list[StatusRecord], goal: str, reason: str) -> None:
    with pytest.raises(NotDone) as caught:
        answering.step(EVENT, command(answer="yes", goal=goal), records)
    assert caught.value.refused.reason == reason


@pytest.mark.parametrize("value", ["x" * 70_000, [[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]])
def test_an_answer_that_no_record_can_carry_is_refused(value: object) -> None:
    with pytest.raises(NotDone) as caught:
        answering.step(EVENT, command(answer=value), [ACTIVE, ASKED])
    assert caught.value.refused.reason == "answer_too_large"


def test_only_the_very_question_expires() -> None:
    expiry = command("expire", goal="a", about="m.1.2")
    step = answering.step(EVENT, expiry, [ACTIVE, ASKED])
    assert step.record is not None
    assert step.record.goal is not None
    assert step.record.goal.answer == Answer(key="k", expired=True)
    asked_again = [ACTIVE, ASKED, step.record, asking("a", "m.2.2", tries=2)]
    other = ChatEvent(id="another firing", conversation="ops")
    assert answering.step(other, expiry, asked_again) == NOTHING
    assert answering.step(other, command("expire", goal="b", about="m.1.2"), [ACTIVE, ASKED]) == NOTHING
    assert answering.step(other, expiry, []) == NOTHING


_events = st.sampled_from([ChatEvent(id=f"e{number}", conversation="ops") for number in range(4)])
_commands = st.one_of(
    st.builds(command, answer=st.sampled_from(["yes", 1, None]), goal=st.sampled_from(["", "a", "b"])),
    st.builds(command, st.just("expire"), goal=st.sampled_from(["a", "b"]), about=st.sampled_from(["m.1.2", "m.1.3"])),
)


@given(
    st.sampled_from(Status), st.sampled_from(["", "cancelling"]), st.lists(st.tuples(_events, _commands), max_size=8)
)
def test_whatever_is_said_records_stay_legal_and_each_question_is_answered_once(
    last: Status, phase: str, said: list[tuple[ChatEvent, Command]]
) -> None:
    records = [ACTIVE, asking("a", "m.1.2", Status.ACTIVE), asking("b", "m.1.3", Status.ACTIVE)]
    if last is not Status.PROPOSED:
        records.append(record("m.1.4", last, phase))
    for event, wish in said:
        try:
            step = answering.step(event, wish, records)
        except NotDone:
            continue
        if step.record is not None:
            assert records[-1].status not in TERMINAL
            assert may_follow(records[-1].status, step.record.status)
            assert step.record.attempt == records[-1].attempt
            assert bool(step.proposes) is (step.record.status is Status.WAITING)
            records.append(step.record)
    answered = [found.goal.id for found in records if found.goal is not None and found.goal.answer is not None]
    assert len(answered) == len(set(answered))
    assert set(open_questions(records)) | set(answered) == {"a", "b"}
    assert len({found.event_id for found in records}) == len(records)
