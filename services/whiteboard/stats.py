"""The counts of `GET /stats`: kept as records come, or read by an index, however many missions there are."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from contracts.lifecycle import CORE, Core, Status
from services.whiteboard import query
from services.whiteboard.tally import PROPOSED, RUN, WAIT, percentile

#: What is told of kinds: those with the most missions.
MOST_KINDS = 100
_MINUTES = 60
_UNSETTLED = (Status.PROPOSED, Status.ACTIVE, Status.WAITING)


class Took(Struct, frozen=True):
    """How long something took within the last hour, in seconds; at most a fifth too high, null where nothing was."""

    p50: float | None
    p95: float | None


class PerMinute(Struct, frozen=True):
    """What happened in one minute of the broker's clock; minutes in which nothing did are left out."""

    minute: str
    proposed: int
    ended: int


class Oldest(Struct, frozen=True):
    """The oldest mission of a status."""

    mission_id: str
    proposed_at: str
    updated_at: str


class Counts(Struct, frozen=True, kw_only=True):
    """What is counted over all missions."""

    missions: int
    by_status: dict[str, int]
    by_core: dict[str, int]
    by_kind: dict[str, dict[str, int]]
    per_minute: tuple[PerMinute, ...]  #: of the last hour
    ended_last_hour: dict[str, int]
    wait_s: Took  #: from the proposal to the start
    run_s: Took  #: from the start to the end
    oldest: dict[str, Oldest | None]  #: of the statuses that are not terminal


_decode_oldest = msgspec.json.Decoder(Oldest).decode


def counts(connection: sqlite3.Connection, statuses: Counter[str], now: datetime) -> Counts:
    """Return what is counted; `now` says which minutes are the last hour."""
    by_status = {status.value: statuses[status.value] for status in Status}
    since = (now - timedelta(minutes=_MINUTES)).strftime("%Y-%m-%dT%H:%M")
    minutes = connection.execute("SELECT * FROM minutes WHERE minute > ? ORDER BY minute", (since,)).fetchall()
    return Counts(
        missions=sum(by_status.values()),
        by_status=by_status,
        by_core=_by_core(by_status),
        by_kind=_by_kind(connection),
        per_minute=_per_minute(minutes),
        ended_last_hour=_summed(row[1:] for row in minutes if row[1] in by_status and row[1] != PROPOSED),
        wait_s=_took(minutes, WAIT),
        run_s=_took(minutes, RUN),
        oldest={status.value: _oldest(connection, status) for status in _UNSETTLED},
    )


def _by_core(by_status: dict[str, int]) -> dict[str, int]:
    found = {core.value: 0 for core in Core}
    for status, count in by_status.items():
        found[CORE[Status(status)].value] += count
    return found


def _by_kind(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    most = "SELECT kind FROM tallies GROUP BY kind ORDER BY sum(missions) DESC, kind LIMIT ?"
    rows = connection.execute(f"SELECT * FROM tallies WHERE missions > 0 AND kind IN ({most})", (MOST_KINDS,))  # noqa: S608
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for kind, status, count in rows:
        found[kind][status] = count
    return dict(found)


def _per_minute(minutes: list[tuple[str, str, int, int]]) -> tuple[PerMinute, ...]:
    found: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for minute, what, _, count in minutes:
        if what not in {WAIT, RUN}:
            found[minute][what == PROPOSED] += count
    return tuple(PerMinute(f"{minute}:00Z", count[True], count[False]) for minute, count in found.items())


def _summed(rows: Any) -> dict[str, int]:
    found: Counter[str] = Counter()
    for what, _, count in rows:
        found[what] += count
    return dict(found)


def _took(minutes: list[tuple[str, str, int, int]], wanted: str) -> Took:
    buckets: Counter[int] = Counter()
    for _, what, bucket, count in minutes:
        if what == wanted:
            buckets[bucket] += count
    return Took(percentile(buckets, 0.5), percentile(buckets, 0.95))


def _oldest(connection: sqlite3.Connection, status: Status) -> Oldest | None:
    first = "SELECT mission_id FROM missions WHERE status = ? ORDER BY first_seq LIMIT 1"
    row = connection.execute(first, (status.value,)).fetchone()
    view = query.view_of(connection, row[0]) if row else None
    return None if view is None else _decode_oldest(view)
