"""The product's own validation: what Missions promises, done for real and looked at from outside."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from contracts.lifecycle import TERMINAL
from missions import demo_work, journal_lines
from missions.demo_stage import Stage, Step
from missions.stack import Stack

#: Short, so that nobody waits half a minute for a dead executor's mission.
_LEASE_S = "2"


def run(tell: Callable[[str], None], data_dir: Path, show: str = "tour") -> list[Step]:
    """Start a stack of its own on `data_dir`, do every step of a show, stop it; return what was observed."""
    began = time.monotonic()
    own = {name: None for name in os.environ if name.startswith("MISSIONS_")}  # the demo has its own settings

    def on_event(event: str, **values: object) -> None:
        tell(f"    {event}: {', '.join(f'{name} {value}' for name, value in values.items())}")

    chosen = SHOWS[show]
    env = {**own, "MISSIONS_LEASE_S": _LEASE_S}
    with Stack(data_dir, goals=chosen.goals, env=env, on_event=on_event) as stack:
        tell(f"A nats-server and the three services run in {data_dir} ({time.monotonic() - began:.1f} s to start).")
        stage = Stage(stack, tell)
        for title, act in chosen.steps.items():
            with stage.step(title):
                act(stage)
        return stage.steps


def temporary_directory() -> Path:
    """Make a directory for a demo."""
    return Path(tempfile.mkdtemp(prefix="missions-demo-"))


def chat_message(stage: Stage) -> None:
    """Say something in chat."""
    body = {"message": "/run echo text=hello", "conversation": "demo", "sender": "ann"}
    url = f"{stage.stack.orchestrator_url}/chat/integrated"
    stage.note(f"POST {url} {json.dumps(body)}")
    status, answer = stage.ask("POST", url, body)
    stage.check("it is accepted, and on disk", status, 202)
    stage.first = answer["mission_id"]
    mission = stage.wait_for(stage.first, lambda _: True)
    stage.check("a mission has its id", mission["mission_id"], stage.first)
    stage.check("asked for by", mission["requested_by"], "ann")


def executor_runs(stage: Stage) -> None:
    """Wait for the outcome, and look who wrote it."""
    mission = stage.outcome(stage.first)
    stage.check("status", mission["status"], "completed")
    stage.check("result", mission["result"], "hello")
    stage.check("attempt", mission["attempt"], 1)
    actors = {process_of(record.data.get("actor", "")) for record in stage.records(stage.first)[1:]}
    stage.check("done by the executor, process", sorted(actors), [str(stage.stack.pids["executor"][0])])


def journal_of_three(stage: Stage) -> None:
    """Read the file, and check it as anybody can."""
    stage.note(f"the lines about {stage.first} in {stage.stack.journal.relative_to(stage.stack.data_dir)}")
    records = stage.records(stage.first)
    stage.check("exactly three records", [record.status for record in records], ["proposed", "active", "completed"])
    stage.check("one after the other", [record.seq for record in records], sorted({record.seq for record in records}))
    stage.check("lines with a wrong checksum, or out of the chain", journal_lines.damaged(stage.folder), [])


def whiteboard_reconstructs(stage: Stage) -> None:
    """Ask for the same mission over HTTP."""
    stage.note(f"GET {stage.stack.whiteboard_url}/missions/{stage.first}")
    mission, records = stage.mission(stage.first), stage.records(stage.first)
    stage.check("status", mission["status"], "completed")
    stage.check("core", mission["core"], "completed")
    stage.check("as of sequence", mission["seq"], records[-1].seq)
    moments = [mission["proposed_at"], mission["started_at"], mission["finished_at"]]
    stage.check("proposed, started, finished", moments, [record.time for record in records])
    events = stage.get(f"/missions/{stage.first}/events")["items"]
    stage.check(
        "its events are the journal's records", [item["seq"] for item in events], [line.seq for line in records]
    )
    listed = stage.get("/missions?conversation=demo&status=completed")["items"]
    stage.check("it is listed", [item["mission_id"] for item in listed], [stage.first])


def goal_is_tried_again(stage: Stage) -> None:
    """Fail twice where three tries are allowed, and always where two are."""
    retry = {"max_attempts": 3, "backoff_s": 0.1}
    lucky = stage.say(goals=[{"kind": "fail", "params": {"times": 2, "message": "not yet"}, "retry": retry}])
    mission = stage.outcome(lucky)
    stage.check("a goal that fails twice, of three tries", mission["status"], "completed")
    stage.check("at try", mission["goals"][0]["attempt"], 3)
    found = [phrase(record.status, record.data.get("phase", "")) for record in stage.records(lucky)]
    stage.check("its records", found, ["proposed", "active", *["active (backing_off)"] * 2, "completed"])
    retry = {"max_attempts": 2, "backoff_s": 0.1}
    unlucky = stage.outcome(stage.say(goals=[{"kind": "fail", "params": {"message": "not today"}, "retry": retry}]))
    stage.check("a goal that always fails, of two tries", unlucky["status"], "failed")
    stage.check("reason", unlucky["reason"], "retries_exhausted")
    stage.check("error", unlucky["error"]["message"], "not today")


def several_goals(stage: Stage) -> None:
    """Do goals in the order of what they need, those that need nothing of each other side by side."""
    goals = [
        {"id": "join", "kind": "echo", "params": {"text": "joined"}, "needs": ["left", "right"]},
        {"id": "left", "kind": "sleep", "params": {"seconds": 0.2}, "needs": ["fetch"]},
        {"id": "right", "kind": "sleep", "params": {"seconds": 0.1}, "needs": ["fetch"]},
        {"id": "fetch", "kind": "echo", "params": {"text": "fetched"}},
    ]
    mission_id = stage.say(title="Fetch, look left and right, join", goals=goals)
    mission = stage.outcome(mission_id)
    stage.check("status", mission["status"], "completed")
    stage.check("its goals ended in the order", goals_done(stage, mission_id), ["fetch", "right", "left", "join"])
    stage.check("result, of the goal that nobody needs", mission["result"], "joined")


def executor_is_killed(stage: Stage) -> None:
    """Kill the executor while the second of three goals runs."""
    mission_id = stage.say(text="/run echo text=first\n/run sleep seconds=1\n/run echo text=last")
    running = stage.wait_for(mission_id, lambda mission: mission["goals"][0]["status"] == "completed")
    killed = stage.stack.pids["executor"][0]
    os.kill(killed, signal.SIGKILL)
    stage.note(f"kill -9 {killed}")
    stage.check("the mission was then", running["status"], "active")
    mission, records = stage.outcome(mission_id), stage.records(mission_id)
    stage.check("status", mission["status"], "completed")
    stage.check("completed by another process", process_of(records[-1].data["actor"]), str(successor(stage, killed)))
    stage.check("outcomes", sum(record.status in TERMINAL for record in records), 1)
    stage.check("at attempt", mission["attempt"], 2)
    stage.check("result", mission["result"], "last")
    stage.check("every goal finished once", goals_done(stage, mission_id), ["g1", "g2", "g3"])
    attempts = [record.data["attempt"] for record in records if record.goal.get("status") == "completed"]
    stage.check("by attempt", attempts, [1, 2, 2])
    lines = [journal_lines.decode(line) for line in stage.journal()]
    outcomes = Counter(line.mission_id for line in lines if line.status in TERMINAL)
    odd = sorted(mission_id for mission_id in {line.mission_id for line in lines} if outcomes[mission_id] != 1)
    stage.check("missions in the journal without exactly one outcome", odd, [])


class Show(NamedTuple):
    """What is shown: steps in order, and the goals that they need."""

    steps: Mapping[str, Callable[[Stage], None]]
    goals: tuple[str, ...] = ()


TOUR: dict[str, Callable[[Stage], None]] = {
    "A chat message creates a mission": chat_message,
    "An executor runs it": executor_runs,
    "The journal has the whole of it": journal_of_three,
    "The whiteboard reconstructs it over HTTP": whiteboard_reconstructs,
    "A goal that fails is tried again, as often as it may": goal_is_tried_again,
    "A mission of several goals": several_goals,
    "kill -9 of the executor in the middle of a mission": executor_is_killed,
}
SHOWS = {"tour": Show(TOUR), "work": Show(demo_work.STEPS, (demo_work.GOALS,))}


def goals_done(stage: Stage, mission_id: str) -> list[str]:
    """Return the goals of a mission in the order in which they were written down as completed."""
    goals = [record.goal for record in stage.records(mission_id)]
    return [goal["id"] for goal in goals if goal.get("status") == "completed"]


def successor(stage: Stage, killed: int) -> int:
    """Return the process that came after the one that was killed; 0 where none did."""
    pid = stage.stack.pids["executor"][0]
    return 0 if pid == killed else pid


def process_of(actor: str) -> str:
    """Return the process id in the name of an actor, `executor/<host>/<pid>/…`."""
    parts = actor.split("/")
    return parts[2] if parts[0] == "executor" and len(parts) > 2 else ""  # noqa: PLR2004 - the third part


def phrase(status: str, phase: str) -> str:
    """Return a status with its phase, if it has one."""
    return f"{status} ({phase})" if phase else status
