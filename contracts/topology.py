"""Streams and durable consumers, declared once, in the broker's own field names.

A config holds only what we decide; a field that is not named is the broker's default. Durations are nanoseconds.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from contracts import subjects

CHAT = "CHAT"
SCHEDULES = "SCHEDULES"
MISSIONS = "MISSIONS"
DEADLETTERS = "DEADLETTERS"
KINDS = "KINDS"
#: The object store whose bucket is called `ARTIFACTS`.
ARTIFACTS = "OBJ_ARTIFACTS"

ORCHESTRATOR = "orchestrator"
WHITEBOARD = "whiteboard"

#: The oldest nats-server whose `sync_interval: always` keeps what it acknowledged.
OLDEST_SERVER = (2, 15, 0)
DEFAULT_LEASE_S = 30.0

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
_GIB = 1024**3
_OWNER = {"owner": "missions"}


class StreamSpec(Struct, frozen=True):
    """A stream as it must be; `config` is what STREAM.CREATE takes."""

    name: str
    config: dict[str, Any]


class ConsumerSpec(Struct, frozen=True):
    """A durable pull consumer as it must be; `config` is what CONSUMER.CREATE takes."""

    stream: str
    name: str
    config: dict[str, Any]


def _stream(name: str, stream_subjects: list[str], **config: Any) -> StreamSpec:
    base = {"name": name, "subjects": stream_subjects, "retention": "limits", "storage": "file", "metadata": _OWNER}
    return StreamSpec(name, base | config)


STREAMS: tuple[StreamSpec, ...] = (
    _stream(
        CHAT,
        [subjects.CHAT_EVENTS, subjects.CHAT_EVENTS_ALL, subjects.CHAT_REPLIES_ALL],
        max_age=7 * _DAY,
        max_bytes=2 * _GIB,
        duplicate_window=600 * _SECOND,
        allow_atomic=True,
        allow_direct=True,
    ),
    _stream(
        SCHEDULES,
        [subjects.CHAT_SCHEDULES_ALL, subjects.CHAT_DUE_ALL],
        max_age=7 * _DAY,
        max_bytes=_GIB // 4,
        allow_msg_schedules=True,
        allow_msg_ttl=True,
    ),
    _stream(
        MISSIONS,
        [subjects.PROPOSED_ALL, subjects.STATUS_ALL],
        max_bytes=4 * _GIB,
        discard="new",
        deny_delete=True,
        allow_atomic=True,
        allow_direct=True,
        republish={"src": subjects.RECORDS_ALL, "dest": "missions.{{wildcard(1)}}"},
    ),
    _stream(DEADLETTERS, [subjects.DEADLETTERS_ALL], max_age=30 * _DAY, max_bytes=_GIB // 2),
    _stream(KINDS, [subjects.KINDS_ALL], max_age=_DAY, max_bytes=_GIB // 16, max_msgs_per_subject=1, allow_direct=True),
    # No roll-up headers, which the layout would allow: with one, whoever may keep an artifact could wipe them all.
    _stream(
        ARTIFACTS,
        [subjects.ARTIFACT_CHUNKS_ALL, subjects.ARTIFACT_METAS_ALL],
        max_bytes=2 * _GIB,
        discard="new",
        allow_direct=True,
    ),
)


def _consumer(stream: str, name: str, **config: Any) -> ConsumerSpec:
    base = {"durable_name": name, "deliver_policy": "all", "max_deliver": -1, "metadata": _OWNER}
    return ConsumerSpec(stream, name, base | config)


def _explicit(lease_s: float) -> dict[str, Any]:
    return {"ack_policy": "explicit", "ack_wait": int(lease_s * _SECOND), "max_ack_pending": 10_000}


#: What an orchestrator that died held comes back after this; a repeat that overtakes a slow write is harmless.
_ORCHESTRATOR_S = 10

CONSUMERS: tuple[ConsumerSpec, ...] = (
    _consumer(CHAT, ORCHESTRATOR, filter_subjects=["chat.events", "chat.events.*"], **_explicit(_ORCHESTRATOR_S)),
    _consumer(SCHEDULES, ORCHESTRATOR, filter_subject=subjects.CHAT_DUE_ALL, **_explicit(_ORCHESTRATOR_S)),
    _consumer(MISSIONS, ORCHESTRATOR, filter_subject=subjects.STATUS_ALL, **_explicit(_ORCHESTRATOR_S)),
    _consumer(MISSIONS, WHITEBOARD, ack_policy="none"),
)


def executor_durable(queue: str) -> str:
    """Return the name of the durable that the executors of a queue share."""
    return f"executor-{queue}"


def executor_consumer(queue: str, lease_s: float = DEFAULT_LEASE_S) -> ConsumerSpec:
    """Return the consumer of one queue; its `ack_wait` is the lease of an owner."""
    return _consumer(
        MISSIONS, executor_durable(queue), filter_subject=subjects.proposed_queue(queue), **_explicit(lease_s)
    )


def consumers(queues: tuple[str, ...], lease_s: float = DEFAULT_LEASE_S) -> tuple[ConsumerSpec, ...]:
    """Return every durable consumer of a deployment that serves these queues."""
    return CONSUMERS + tuple(executor_consumer(queue, lease_s) for queue in queues)
