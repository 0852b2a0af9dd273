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
    """The counts of the minutes that one batch of records tells of."""

    def __init__(self) -> None:
        self.minutes: Counter[Minute] = Counter()  #: (minute, what, bucket)

    def add(self, before: View | None, after: View) -> None:
        """Count one change of a mission; every beginning and end is a change of the status."""
        if before is not None and before.status is after.status:
            return
        minute = after.updated_at[:_MINUTE]
        if before is None:
            self.minutes[minute, PROPOSED, 0] += 1
        elif before.started_at is None and after.started_at is not None:
            self.minutes[minute, WAIT, bucket_of(after.proposed_at, after.started_at)] += 1
        if after.finished_at is not None:
            self.minutes[minute, after.status.value, 0] += 1
            if after.started_at is not None:
                self.minutes[minute, RUN, bucket_of(after.started_at, after.finished_at)] += 1


def moved(before: Mapping[str, View], after: Mapping[str, View]) -> Counter[tuple[str, str]]:
    """Return by kind and status how many missions there are more, or less, than before."""
    counts: Counter[tuple[str, str]] = Counter()
    for mission_id, view in after.items():
        was = before.get(mission_id)
        if was is not None and was.status is view.status:
            continue
        for kind in kinds(view):
            counts[kind, view.status.value] += 1
            if was is not None:
                counts[kind, was.status.value] -= 1
    return counts


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
