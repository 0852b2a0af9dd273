"""The text commands `/answer ID value`, `/cancel ID reason` and `/retry ID`: what a chat can say about a mission."""

from __future__ import annotations

from contracts import ids
from contracts.messages import Command
from services.orchestrator.planners.slash import plain_value
from services.orchestrator.verdict import Refused

_EXAMPLES = {
    "/answer": "/answer <mission id> yes",
    "/cancel": "/cancel <mission id> wrong file",
    "/retry": "/retry <mission id>",
}
_MAX_REASON = 256


def command_of(text: str) -> Command | Refused | None:
    """Read a command; None for a text that is none. `ID/goal` names whose question is answered."""
    name, _, rest = text.strip().partition(" ")
    name = name.lower()
    if name not in _EXAMPLES:
        return None
    place, _, said = rest.strip().partition(" ")
    mission_id, _, goal = place.partition("/")
    said = said.strip()
    if not ids.is_mission_id(mission_id) or (goal and (name != "/answer" or not ids.is_token(goal))):
        return _refused(name, f"{place[:80] or 'Nothing'} is no mission id: those are 26 letters and digits.")
    if name == "/cancel":
        return Command(kind="cancel", mission_id=mission_id, reason=said[:_MAX_REASON])
    if name == "/retry":
        return _refused(name, "A retry takes a mission id and nothing else.") if said else _retry(mission_id)
    if not said:
        return _refused(name, "The answer is missing.")
    return Command(kind="answer", mission_id=mission_id, goal=goal, answer=plain_value(said))


def _retry(mission_id: str) -> Command:
    return Command(kind="retry", mission_id=mission_id)


def _refused(name: str, problem: str) -> Refused:
    return Refused("bad_command", problem, f"Write it like this: {_EXAMPLES[name]}")
