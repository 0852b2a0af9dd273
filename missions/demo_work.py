"""`missions demo work`: one mission of ten goals through everything that goes wrong, and one that must be stopped."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.lifecycle import TERMINAL
from missions.demo_stage import Stage, answering

GOALS = "missions.demo_goals"
_SIZE_MB = 20
_STEPS = 8
_KILL_AFTER_STEP = 3
_FLAKY = 2
_NO_PROCESS = 0


def goals(notes: Path) -> list[dict[str, Any]]:
    """Return the ten goals; what they need follows from what they refer to, and from `needs`."""

    def one(goal_id: str, kind: str, needs: list[str] | None = None, **params: Any) -> dict[str, Any]:
        return {"id": goal_id, "kind": f"demo.{kind}", "params": {"notes": str(notes), **params}, "needs": needs or []}

    rows = "${fetch.rows}"
    announcement = "Release of ${measure}, ${publish}: ${render.sha256}"
    return [
        one("fetch", "fetch", rows=7),
        one("unit", "check", rows=rows),
        one("lint", "check", rows=rows, flaky=_FLAKY),
        one("types", "check", rows=rows),
        one("render", "render", ["unit", "lint", "types"], size_mb=_SIZE_MB),
        one("measure", "measure", size_bytes="${render.size_bytes}"),
        one("migrate", "migrate", ["render"], steps=_STEPS),
        one("approve", "approve", ["migrate"], what="${measure}"),
        one("publish", "publish", approved="${approve}"),
        {"id": "announce", "kind": "echo", "params": {"text": announcement}},
    ]


def ten_goals(stage: Stage) -> None:
    """Propose the mission, and look at it while it works."""
    plan = goals(notes_of(stage))
    stage.first = stage.say(title="Release 7", goals=plan)
    needs = {goal["id"]: sorted(goal["needs"]) for goal in stage.wait_for(stage.first, lambda _: True)["goals"]}
    stage.check("goals", len(needs), 10)
    stage.check("measure needs what it refers to", needs["measure"], ["render"])
    stage.check("announce needs what it refers to", needs["announce"], ["measure", "publish", "render"])
    mission = stage.wait_for(stage.first, lambda mission: by_id(mission)["render"]["status"] == "completed")
    stage.check("lint failed twice, and was done at try", by_id(mission)["lint"]["attempt"], _FLAKY + 1)


def killed_in_the_middle(stage: Stage) -> None:
    """Kill the executor while it migrates; the next one goes on from the checkpoint."""
    stage.until(f"step {_KILL_AFTER_STEP} is saved", lambda: saved_steps(stage) >= _KILL_AFTER_STEP)
    done = {goal["id"] for goal in stage.mission(stage.first)["goals"] if goal["status"] == "completed"}
    pid = stage.stack.pids["executor"][0]
    os.kill(pid, signal.SIGKILL)
    stage.note(f"kill -9 {pid}, with {len(done)} goals done")
    stage.wait_for(stage.first, lambda mission: by_id(mission)["migrate"]["status"] == "completed")
    runs = Counter(notes_of(stage).read_text().splitlines())
    repeated = sorted(goal for goal in done if runs[goal] != (_FLAKY + 1 if goal == "lint" else 1))
    stage.check("finished goals that ran again", repeated, [])
    stage.check("migrate ran", runs["migrate"], 2)
    steps = [runs[f"migrate step {step}"] for step in range(1, _STEPS + 1)]
    stage.check("steps that nobody did", steps.count(0), 0)
    stage.check("steps before the checkpoint that were done again", sum(steps[:_KILL_AFTER_STEP]) - _KILL_AFTER_STEP, 0)


def question_answered(stage: Stage) -> None:
    """Let the mission wait for a person, answer, and see it end."""
    mission = stage.wait_for(stage.first, lambda mission: mission["status"] == "waiting")
    stage.check("it asks", by_id(mission)["approve"]["question"]["text"], f"Publish {_SIZE_MB} MiB?")
    stage.check("missions that the executor holds meanwhile", owned(stage), 0)
    stage.command(kind="answer", mission_id=stage.first, answer=True)
    mission = stage.outcome(stage.first)
    stage.check("status", mission["status"], "completed")
    digest = by_id(mission)["render"]["result"]["sha256"]
    stage.check("result", mission["result"], f"Release of {_SIZE_MB} MiB, published: {digest}")
    outcomes = [record.status for record in stage.records(stage.first) if record.status in TERMINAL]
    stage.check("outcomes", outcomes, ["completed"])


def artifact_fetched(stage: Stage) -> None:
    """Fetch the artifact over HTTP, and compare it with what the goal said of it."""
    goal = by_id(stage.mission(stage.first))["render"]
    [artifact] = goal["artifacts"]
    size, digest = fetched(f"{stage.stack.whiteboard_url}/missions/{stage.first}/artifacts/render/{artifact['name']}")
    stage.check("bytes", size, _SIZE_MB * 1024 * 1024)
    stage.check("sha256, computed here", digest, goal["result"]["sha256"])
    stage.check("sha256, of the claim check", artifact["sha256"], digest)


def cancelled_by_force(stage: Stage) -> None:
    """Cancel a handler that never looks: its process is killed."""
    stubborn = stage.say(goals=[{"kind": "demo.stubborn", "params": {"notes": str(notes_of(stage))}}])
    stage.until("its process runs", lambda: pid_of_stubborn(stage) != _NO_PROCESS)
    pid = pid_of_stubborn(stage)
    stage.check("its process is alive", alive(pid), True)
    stage.command(kind="cancel", mission_id=stubborn, reason="seen enough")
    mission = stage.outcome(stubborn)
    stage.check("status", mission["status"], "cancelled")
    stage.check("phase", mission["phase"], "stopped")
    stage.until("its process is gone", lambda: not alive(pid))
    stage.check("its process is alive", alive(pid), False)


STEPS: dict[str, Callable[[Stage], None]] = {
    "Ten goals: side by side, one after another, one tried again": ten_goals,
    "kill -9 of the executor in the middle: what is done is not done again": killed_in_the_middle,
    "A question to a person: nothing runs while they think": question_answered,
    f"An artifact of {_SIZE_MB} MiB, fetched back": artifact_fetched,
    "A handler that does not listen is cancelled by force": cancelled_by_force,
}


def notes_of(stage: Stage) -> Path:
    """Return the file in which goals note that they ran."""
    return stage.stack.data_dir / "notes.txt"


def by_id(mission: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the goals of a mission by their ids."""
    return {goal["id"]: goal for goal in mission["goals"]}


def saved_steps(stage: Stage) -> int:
    """Return the last checkpoint of `migrate`, as the journal has it."""
    saved = [record.goal.get("checkpoint") for record in stage.records(stage.first)]
    return max((step for step in saved if step is not None), default=0)


def owned(stage: Stage) -> int:
    """Return how many missions the executor owns, by its own metrics."""
    with answering("GET", f"{stage.stack.url('executor')}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    [line] = [line for line in lines if line.startswith("missions_owned ")]
    return int(float(line.split()[1]))


def pid_of_stubborn(stage: Stage) -> int:
    """Return the process that the stubborn handler noted."""
    pids = [line.split()[1] for line in notes_of(stage).read_text().splitlines() if line.startswith("pid ")]
    return int(pids[-1]) if pids else _NO_PROCESS


def alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def fetched(url: str) -> tuple[int, str]:
    """Read what is at a URL piece by piece; return its size and its SHA-256."""
    size, digest = 0, hashlib.sha256()
    with answering("GET", url) as answer:
        while piece := answer.read(64 * 1024):
            size += len(piece)
            digest.update(piece)
    return size, digest.hexdigest()
