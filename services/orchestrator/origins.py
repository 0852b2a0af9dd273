"""Where missions came from, remembered so that a reply costs no question to the broker."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from contracts.messages import Mission


class Origin(Struct, frozen=True):
    """The conversation that a mission's replies go to, and the chat event they answer."""

    conversation: str
    chat_event_id: str

    @classmethod
    def of(cls, mission: Mission) -> Origin:
        """Read the origin from a proposal."""
        return cls(mission.conversation, mission.causation_id)


class Origins:
    """The origins of the missions proposed last, at most `most`; a miss is normal after a restart."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._known: OrderedDict[str, Origin] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, mission: Mission) -> None:
        """Keep the origin of a mission, and forget the oldest beyond the bound."""
        self._known[mission.mission_id] = Origin.of(mission)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def get(self, mission_id: str) -> Origin | None:
        """Return the origin, where it is remembered."""
        return self._known.get(mission_id)

    def forget(self, mission_id: str) -> None:
        """Drop a mission that has got its last reply."""
        self._known.pop(mission_id, None)
