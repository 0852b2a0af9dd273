"""What people say to a stack under load."""

from __future__ import annotations

from contracts import ids
from contracts.messages import ChatEvent


def mixed(count: int, name: str = "evt") -> list[ChatEvent]:
    """Return chat events of every sort: one goal, several goals, some that take a while, fail or are refused."""
    texts = (
        "/run echo text=hi",
        "/run echo text=a\n/run echo text=b\n/run echo text=c",
        "/run sleep seconds=0.2",
    )
    rare = {7: "/run fail message=boom", 23: "/run no.such.kind", 41: "what is this?"}
    return [
        ChatEvent(id=f"{name}-{n}", conversation=f"room-{n % 7}", text=rare.get(n % 50, texts[n % len(texts)]))
        for n in range(count)
    ]


def mission_id(event: ChatEvent) -> str:
    """Return the id of the mission of a chat event."""
    return ids.mission_id(event.conversation, event.id)
