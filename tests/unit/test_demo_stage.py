from __future__ import annotations

from pathlib import Path

import pytest

from missions.demo import phrase, process_of
from missions.demo_stage import Observation, Stage, described, shown
from missions.stack import Stack


class Told:
    """A stage without a stack, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.stage = Stage(Stack(folder), self.lines.append)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_steps_are_numbered_and_ticked(told: Told) -> None:
    for title in ("First", "Second"):
        with told.stage.step(title):
            told.stage.check("status", "completed", "completed")
    assert [line.strip() for line in told.lines] == [
        "[1] First",
        "✓ status: completed",
        "[2] Second",
        "✓ status: completed",
    ]
    assert all(step.ok for step in told.stage.steps)


def test_what_is_not_as_expected_says_both_and_fails_its_step(told: Told) -> None:
    with told.stage.step("First"):
        told.stage.check("status", "failed", "completed")
        told.stage.check("attempt", 1, 1)
    assert [line.strip() for line in told.lines[1:]] == [
        "✗ status", "expected  completed", "found     failed", "✓ attempt: 1",
    ]  # fmt: skip
    assert not told.stage.steps[0].ok


def test_an_error_fails_its_step_and_the_next_one_goes_on(told: Told) -> None:
    with told.stage.step("First"):
        raise KeyError("mission_id")
    with told.stage.step("Second"):
        told.stage.check("attempt", 1, 1)
    assert [step.ok for step in told.stage.steps] == [False, True]
    assert "found     KeyError: 'mission_id'" in told.lines[3]


def test_what_was_found_is_shown_as_a_person_reads_it() -> None:
    assert [shown(value) for value in ("a b", ["a", "b"], [], [1, 2], 3)] == ["a b", "a → b", "none", "[1,2]", "3"]
    assert described(Observation("result", True, "hi", "hi")) == ["✓ result: hi"]


def test_an_actor_names_its_process() -> None:
    assert [process_of(actor) for actor in ("executor/host/12/ab", "orchestrator/host/12", "")] == ["12", "", ""]


def test_a_phase_follows_its_status() -> None:
    assert [phrase("active", "backing_off"), phrase("active", "")] == ["active (backing_off)", "active"]
