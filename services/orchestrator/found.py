"""An open mission as the sweep finds it: what the leader has of it, and what the broker says of its queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from contracts.messages import Mission, StatusRecord
from contracts.questions import Asked


class Item(NamedTuple):
    """The last work item of a mission; `mission` is the last proposal that can be read, None where none can."""

    seq: int
    event_id: str
    mission: Mission | None


class Head(NamedTuple):
    """The last status record of a mission; `record` is None where it cannot be read."""

    seq: int
    attempt: int
    record: StatusRecord | None


class Found(Struct, frozen=True, kw_only=True):
    """A mission as the leader has it, and what the broker says of its queue."""

    mission_id: str
    item: Item | None
    head: Head | None
    done_to: int  #: up to here the executors of its queue are done with all work items
    silent_s: float  #: since its last record, by the broker's clock
    now: datetime  #: by the broker's clock
    questions: Mapping[str, Asked] = {}  #: that are open, where it waits

    @property
    def record(self) -> StatusRecord | None:
        """Its last status record, where there is one that can be read."""
        return self.head.record if self.head else None

    @property
    def mission(self) -> Mission | None:
        """What was proposed, where that can be read."""
        return self.item.mission if self.item else None

    @property
    def last_seq(self) -> int:
        """Its last record of either kind: whatever is written stands on this one, or not at all."""
        return max(self.item.seq if self.item else 0, self.head.seq if self.head else 0)
