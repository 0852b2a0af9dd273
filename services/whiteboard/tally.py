"""What is counted as records come: missions by kind and status, what happened in each minute, how long. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from services.whiteboard.view import View
from services.whiteboard.words import kinds

#: What is counted in a minute, beside the outcomes: proposals, and the times until the start and from there to the end.
PROPOSED = "proposed"
WAIT = "wait"
RUN = "run"
#: How long minutes are kept.
KEPT = timedelta(hours=2)
#: Four buckets per doubling: a percentile is at most a fifth too high.
_PER_DOUBLING = 4
_MINUTE = 16  #: characters of a time down to the minute

Minute = tuple[str, str, int]


class Tally:
    """The counts of one batch."""

    def __init__(self) -> None:
        self.kinds: Counter[tuple[str, str]] = Counter()  #: (kind, status): missions more, or less
        self.minutes: Counter[Minute] = Counter()  #: (minute, what, bucket)

    def add(self, before: View | None, after: View) -> None:
        """Count one change of a mission."""
        if before is None or before.status is not after.status:
            self.move(before, after)
            self._add_minute(before, after, after.updated_at[:_MINUTE])

    def move(self, before: View | None, after: View) -> None:
        """Count a mission under its status, and no longer under the one before; no minute."""
        for kind in kinds(after):
            self.kinds[kind, after.status.value] += 1
            if before is not None:
                self.kinds[kind, before.status.value] -= 1

    def _add_minute(self, before: View | None, after: View, minute: str) -> None:
        """Count what happened in a minute: every beginning and end is a change of the status."""
        if before is None:
            self.minutes[minute, PROPOSED, 0] += 1
        elif before.started_at is None and after.started_at is not None:
            self.minutes[minute, WAIT, bucket_of(after.proposed_at, after.started_at)] += 1
        if after.finished_at is not None:
            self.minutes[minute, after.status.value, 0] += 1
            if after.started_at is not None:
                self.minutes[minute, RUN, bucket_of(after.started_at, after.finished_at)] += 1


def bucket_of(begin: str, end: str) -> int:
    """Return the bucket of a time between two moments; the first is all that took less than a millisecond."""
    passed_ms = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() * 1_000
    return 0 if passed_ms < 1 else int(math.log2(passed_ms) * _PER_DOUBLING) + 1


def seconds_of(bucket: int) -> float:
    """Return the longest time that falls into a bucket."""
    return round(2 ** (bucket / _PER_DOUBLING) / 1_000, 4)


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the time, in seconds, within which this share of all was; None where there was nothing."""
    total = sum(buckets.values())
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= share * total:
            return seconds_of(bucket)
    return None


def oldest_kept(time: str) -> str:
    """Return the oldest minute that is kept at a time."""
    return (datetime.fromisoformat(time) - KEPT).strftime("%Y-%m-%dT%H:%M")
