from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec, ids
from contracts.lifecycle import Status, may_follow
from contracts.messages import ChatEvent, Command, GoalRequest, KindSpec, Mission, RetryPolicy
from contracts.subjects import REFUSED_QUEUE
from services.orchestrator import planner
from services.orchestrator.kinds import Kinds
from services.orchestrator.verdict import Refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def planned(event: ChatEvent, *specs: KindSpec) -> Mission:
    plan = planner.plan(event, Kinds.of(specs), now=NOW)
    assert isinstance(plan, Mission), plan
    return plan


def refused(event: ChatEvent, *specs: KindSpec) -> Refused:
    plan = planner.plan(event, Kinds.of(specs), now=NOW)
    assert isinstance(plan, Refused), plan
    return plan


def with_goals(*goals: GoalRequest, **fields: Any) -> ChatEvent:
    return ChatEvent(id="evt-1", conversation="ops", goals=goals, **fields)


def test_a_goal_becomes_a_mission_with_everything_the_event_says() -> None:
    retry = RetryPolicy(max_attempts=3)
    goal = GoalRequest(kind="echo", id="say", params={"text": "hi"}, timeout_s=5, retry=retry, optional=True)
    mission = planned(with_goals(goal, sender="ann", title="Greeting", deadline_s=60))
    assert mission.mission_id == ids.mission_id("ops", "evt-1")
    assert mission.event_id == ids.record_id(mission.mission_id, 0, 1)
    assert (mission.conversation, mission.requested_by, mission.title) == ("ops", "ann", "Greeting")
    assert (mission.causation_id, mission.at, mission.deadline) == ("evt-1", NOW, NOW + timedelta(seconds=60))
    only = mission.goals[0]
    assert (only.id, only.kind, only.params, only.timeout_s, only.optional) == ("say", "echo", {"text": "hi"}, 5, True)
    assert only.retry == retry


def test_goals_without_an_id_are_named_by_their_place() -> None:
    mission = planned(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b", id="mine"), GoalRequest(kind="c")))
    assert [goal.id for goal in mission.goals] == ["g1", "mine", "g3"]
    assert all(goal.needs == () for goal in mission.goals)


def test_needs_are_kept() -> None:
    mission = planned(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b", needs=("g1",))))
    assert mission.goals[1].needs == ("g1",)


def test_a_goal_id_that_stands_twice_is_refused_by_name() -> None:
    verdict = refused(with_goals(GoalRequest(kind="a", id="g2"), GoalRequest(kind="b")))
    assert verdict.reason == "duplicate_goal"
    assert "g2" in verdict.text


def test_a_missing_need_is_refused_by_name() -> None:
    verdict = refused(with_goals(GoalRequest(kind="a", id="first", needs=("ghost",))))
    assert verdict.reason == "missing_need"
    assert "first" in verdict.text
    assert "ghost" in verdict.text


def test_a_cycle_is_refused_and_shown() -> None:
    goals = (
        GoalRequest(kind="a", id="one", needs=("three",)),
        GoalRequest(kind="a", id="two", needs=("one",)),
        GoalRequest(kind="a", id="three", needs=("two",)),
    )
    verdict = refused(with_goals(*goals))
    assert verdict.reason == "cycle"
    assert all(name in verdict.text for name in ("one", "two", "three", "->"))


def test_a_goal_that_needs_itself_is_a_cycle() -> None:
    assert refused(with_goals(GoalRequest(kind="a", needs=("g1",)))).reason == "cycle"


@pytest.mark.parametrize("kind", ["", "a b", "a.*", ">", "a..b", "a.b.c.d.e", "é", "a\n"])
def test_a_kind_that_could_not_stand_in_a_subject_is_refused(kind: str) -> None:
    verdict = refused(with_goals(GoalRequest(kind=kind)))
    assert verdict.reason == "bad_kind"
    assert "g1" in verdict.text


def test_a_kind_nobody_announced_is_proposed_on_the_default_queue() -> None:
    assert planned(with_goals(GoalRequest(kind="unknown.kind"))).queue == "default"


def test_the_queue_is_the_events_else_that_of_the_announced_kind() -> None:
    gpu = KindSpec(kind="train", queue="gpu")
    assert planned(with_goals(GoalRequest(kind="train")), gpu).queue == "gpu"
    assert planned(with_goals(GoalRequest(kind="train"), queue="mine"), gpu).queue == "mine"


def test_a_kind_on_several_queues_prefers_the_default_one() -> None:
    both = (KindSpec(kind="echo", queue="alpha"), KindSpec(kind="echo"))
    assert planned(with_goals(GoalRequest(kind="echo")), *both).queue == "default"


def test_several_goals_go_where_all_their_kinds_are_served() -> None:
    specs = (KindSpec(kind="a", queue="x"), KindSpec(kind="a", queue="y"), KindSpec(kind="b", queue="y"))
    goals = (GoalRequest(kind="a"), GoalRequest(kind="b"), GoalRequest(kind="unknown"))
    assert planned(with_goals(*goals), *specs).queue == "y"


def test_kinds_that_no_queue_serves_together_are_refused() -> None:
    specs = (KindSpec(kind="a", queue="x"), KindSpec(kind="b", queue="y"))
    verdict = refused(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b")), *specs)
    assert verdict.reason == "no_common_queue"
    assert "g2" in verdict.text


def test_the_title_falls_back_to_the_text_then_to_the_kinds() -> None:
    assert planned(with_goals(GoalRequest(kind="a"), text="first line\nsecond")).title == "first line"
    assert planned(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b"))).title == "a, b"
    assert len(planned(with_goals(GoalRequest(kind="a"), text="x" * 60_000)).title) == 120


def test_what_nobody_understands_lists_what_can_be_asked() -> None:
    spec = KindSpec(
        kind="greet",
        phrases=("say hello to {name}",),
        params_schema={"properties": {"name": {"type": "string"}, "times": {"type": "integer"}}, "required": ["name"]},
    )
    verdict = refused(ChatEvent(id="1", text="what is this"), spec)
    assert verdict.reason == "not_understood"
    assert "greet" in str(verdict)
    assert "say hello to {name}" in str(verdict)
    assert '/run greet name="some text"' in str(verdict)


def test_without_any_kind_the_refusal_says_so() -> None:
    assert "start an executor" in str(refused(ChatEvent(id="1", text="hello")))


def test_a_refused_event_makes_a_legal_mission_without_goals_that_no_executor_sees() -> None:
    event = ChatEvent(id="1", text="hello", queue="gpu")
    mission = planner.refused_mission(event, now=NOW)
    record = planner.rejection(mission, planner.not_understood(Kinds()))
    assert (mission.goals, mission.queue) == ((), REFUSED_QUEUE)
    assert record.status is Status.REJECTED
    assert may_follow(Status.PROPOSED, record.status)
    assert (record.reason, record.mission_id) == ("not_understood", mission.mission_id)
    assert record.event_id != mission.event_id


def test_the_same_event_is_planned_into_the_same_bytes() -> None:
    event = ChatEvent(id="1", text="/run echo text=hi", deadline_s=5)
    assert codec.encode(planned(event)) == codec.encode(planned(event))


@given(needs=st.lists(st.lists(st.sampled_from([f"g{n}" for n in range(1, 7)]), max_size=4), min_size=1, max_size=5))
def test_a_plan_can_always_run_to_its_end(needs: list[list[str]]) -> None:
    event = with_goals(*(GoalRequest(kind="a", needs=tuple(names)) for names in needs))
    plan = planner.plan(event, Kinds(), now=NOW)
    if isinstance(plan, Refused):
        assert plan.reason in {"missing_need", "cycle"}
        return
    done: set[str] = set()
    for _ in plan.goals:
        done |= {goal.id for goal in plan.goals if set(goal.needs) <= done}
    assert len(done) == len(plan.goals)


@given(st.text(max_size=300), st.sampled_from(["", "/run ", "/run echo ", "/run echo a="]))
def test_no_text_breaks_the_planner(text: str, start: str) -> None:
    spec = KindSpec(kind="greet", phrases=("say {a} to {b}", "hello {name}"))
    event = ChatEvent(id="1", text=start + text)
    plan = planner.plan(event, Kinds.of([spec]), now=NOW)
    mission = planner.refused_mission(event, now=NOW) if isinstance(plan, Refused) else plan
    assert codec.decode_mission(codec.encode(mission)) == mission


def test_a_command_without_text_is_nothing_to_plan() -> None:
    event = ChatEvent(id="1", command=Command(kind="cancel", mission_id="x"))
    assert refused(event).reason == "not_understood"


def test_a_reference_makes_a_need() -> None:
    mission = planned(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b", params={"x": [{"y": "${g1.n}"}]})))
    assert mission.goals[1].needs == ("g1",)
    assert mission.goals[1].params == {"x": [{"y": "${g1.n}"}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${ghost.x}", ["Goal g2", "param /x/0", "${ghost.x}", "no goal ghost"]),
        ("${g2}", ["Goal g2", "param /x/0", "own result"]),
        ("${HOME", ["Goal g2", "param /x/0", "ends with a }"]),
    ],
)
def test_a_reference_to_nothing_is_refused_with_what_to_write(text: str, words: list[str]) -> None:
    verdict = refused(with_goals(GoalRequest(kind="a"), GoalRequest(kind="b", params={"x": [text]})))
    assert verdict.reason == "bad_reference"
    for word in [*words, '"$${"']:
        assert word in verdict.text


def test_a_circle_of_references_is_refused_and_names_them() -> None:
    one = GoalRequest(kind="a", id="one", params={"x": "${two}"})
    verdict = refused(with_goals(one, GoalRequest(kind="a", id="two", needs=("one",))))
    assert verdict.reason == "cycle"
    assert "one -> two -> one" in verdict.text or "two -> one -> two" in verdict.text
    assert "Goal one uses ${two} in param /x." in verdict.asks
    assert '"$${"' in verdict.asks


def test_a_circle_of_needs_alone_says_nothing_of_references() -> None:
    goals = (GoalRequest(kind="a", id="one", needs=("two",)), GoalRequest(kind="a", id="two", needs=("one",)))
    assert refused(with_goals(*goals)).asks == ""


def test_how_failures_are_met_and_how_many_goals_run_at_once_is_kept() -> None:
    mission = planned(with_goals(GoalRequest(kind="a"), on_failure="continue", max_parallel=3))
    assert (mission.on_failure, mission.max_parallel) == ("continue", 3)
