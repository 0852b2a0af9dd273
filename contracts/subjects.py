"""Every subject, built and parsed in one place."""

from __future__ import annotations

import base64
from typing import NamedTuple

from contracts.errors import InvalidIdentifier

CHAT_EVENTS = "chat.events"
CHAT_EVENTS_ALL = "chat.events.*"
CHAT_DUE_ALL = "chat.due.*"
CHAT_SCHEDULES_ALL = "chat.schedules.*"
CHAT_REPLIES_ALL = "chat.replies.*.*.*"
PROPOSED_ALL = "missions.proposed.*.*"
STATUS_ALL = "missions.status.*.*"
#: Both families.
RECORDS_ALL = "missions.*.*.*"
#: The live feed: core NATS, at most once, fed by the stream's republish.
PROPOSED_FEED = "missions.proposed"
STATUS_FEED = "missions.status"
DEADLETTERS_ALL = "deadletters.*"
KINDS_ALL = "kinds.*.>"
#: The layout of a NATS object store (ADR-20): the chunks of objects, and what is said about each object.
ARTIFACT_CHUNKS_ALL = "$O.ARTIFACTS.C.>"
ARTIFACT_METAS_ALL = "$O.ARTIFACTS.M.>"

DEFAULT_CONVERSATION = "default"
DEFAULT_QUEUE = "default"
#: Where missions stand that were refused before they had a goal: no executor listens here.
REFUSED_QUEUE = "refused"

_SCHEDULE_PREFIX = "chat.schedules."
_PROPOSED_PREFIX = "missions.proposed."
_RECORD_TOKENS = 4
_CONVERSATION_TOKEN = 2


class RecordSubject(NamedTuple):
    """What a subject of the MISSIONS stream says."""

    family: str  #: "proposed" or "status"
    queue: str
    mission_id: str


def chat_events(conversation: str) -> str:
    """Where a chat event of this conversation is published."""
    return f"chat.events.{conversation}"


def chat_due(conversation: str) -> str:
    """Where a scheduled chat event of this conversation fires."""
    return f"chat.due.{conversation}"


def chat_schedule(name: str) -> str:
    """Where the schedule of this name is kept."""
    return f"{_SCHEDULE_PREFIX}{name}"


def schedule_of(subject: str) -> str:
    """Return the name of the schedule that is kept on a subject."""
    return subject.removeprefix(_SCHEDULE_PREFIX)


def reply(conversation: str, mission_id: str, kind: str) -> str:
    """Where the one reply of this kind about a mission is kept."""
    return f"chat.replies.{conversation}.{mission_id}.{kind}"


def proposed(queue: str, mission_id: str) -> str:
    """Where a mission's proposal is kept."""
    return f"missions.proposed.{queue}.{mission_id}"


def proposed_queue(queue: str) -> str:
    """All proposals of one queue."""
    return f"missions.proposed.{queue}.*"


def status(queue: str, mission_id: str) -> str:
    """Where a mission's status records are kept."""
    return f"missions.status.{queue}.{mission_id}"


def records(queue: str, mission_id: str) -> str:
    """Everything that is kept of one mission: its proposals and its status records."""
    return f"missions.*.{queue}.{mission_id}"


def signals(queue: str) -> str:
    """Core NATS, outside every stream: wakes the executors of a queue."""
    return f"missions.signals.{queue}"


def deadletters(service: str) -> str:
    """Where a service puts what it could not understand."""
    return f"deadletters.{service}"


def kind(queue: str, goal_kind: str) -> str:
    """Where executors of a queue announce a goal kind; the kind's dots become tokens."""
    return f"kinds.{queue}.{goal_kind}"


def artifact_chunks(upload: str) -> str:
    """Where the chunks of one upload are kept."""
    return f"$O.ARTIFACTS.C.{upload}"


def artifact_meta(object_name: str) -> str:
    """Where it is kept what is known about an object; its name may hold anything."""
    return f"$O.ARTIFACTS.M.{base64.urlsafe_b64encode(object_name.encode()).decode()}"


def is_proposal(subject: str) -> bool:
    """Tell a proposal from a status record."""
    return subject.startswith(_PROPOSED_PREFIX)


def parse_record(subject: str) -> RecordSubject:
    """Take a MISSIONS subject apart; raises `InvalidIdentifier` for any other."""
    tokens = subject.split(".")
    if len(tokens) != _RECORD_TOKENS or tokens[0] != "missions" or tokens[1] not in {"proposed", "status"}:
        raise InvalidIdentifier(f"{subject!r} is not missions.proposed|status.<queue>.<mission id>")
    return RecordSubject(*tokens[1:])


def conversation_of(subject: str) -> str:
    """Return the conversation token of `chat.events.<c>` or `chat.due.<c>`, or the default one."""
    tokens = subject.split(".")
    return tokens[_CONVERSATION_TOKEN] if len(tokens) > _CONVERSATION_TOKEN else DEFAULT_CONVERSATION
