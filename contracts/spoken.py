"""Text commands about a mission, as far as whoever publishes one must know them: which mission it is about."""

from __future__ import annotations

import re

from contracts.messages import ChatEvent

_ABOUT = re.compile(r"\s*/(?:answer|cancel)\s+([a-z2-7]{26})(?=[\s/]|\Z)", re.IGNORECASE)


def mission_commanded(event: ChatEvent) -> str | None:
    """Return the mission that a chat event answers or cancels; None where it makes a mission of its own."""
    if event.command is not None:
        return None if event.command.kind == "retry" else event.command.mission_id
    found = None if event.goals else _ABOUT.match(event.text or "")
    return found[1] if found else None
