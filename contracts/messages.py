"""The messages: frozen structs, one per thing that crosses a wire.

Unknown fields are tolerated by every reader. A proposal, a status and a reply carry every field they have; the parts
inside them leave out what is not set.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, field

from contracts.lifecycle import CORE, Core, Status
from contracts.subjects import DEFAULT_CONVERSATION, DEFAULT_QUEUE

SCHEMA = 1
MAX_GOALS = 100

#: `(?![\s\S])` is the very end of the text for every engine; `$` admits a newline in Python, `\Z` is unknown to others.
Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?![\s\S])", max_length=64)]
Line = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=65_536)]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


def now() -> datetime:
    """Return the wall-clock time for an `at`; nothing is ever ordered by it."""
    return datetime.now(UTC)


class RetryPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a goal is tried again: `max_attempts` counts the first try; waits are in seconds."""

    max_attempts: Annotated[int, Meta(ge=1, le=1_000)] = 1
    backoff_s: Seconds = 1.0
    backoff_factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_backoff_s: Seconds = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1  #: the share of a wait that is random


class Goal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a mission. `timeout_s` and `retry` default to what the handler declares."""

    id: Token
    kind: Line
    params: dict[str, Any] = {}
    needs: tuple[Token, ...] = ()
    timeout_s: Seconds | None = None
    retry: RetryPolicy | None = None
    optional: bool = False


class GoalRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A goal as a chat event asks for it: the id may be left out (`g1`, `g2`, …)."""

    kind: Line
    id: Token | None = None
    params: dict[str, Any] = {}
    needs: tuple[Token, ...] = ()
    timeout_s: Seconds | None = None
    retry: RetryPolicy | None = None
    optional: bool = False


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wish about a mission that exists: cancel it, answer it, retry it, let it expire.

    `goal` names whose question is answered, where several are open; `about` is the record that asked, where the wish
    means that very question and no later one.
    """

    kind: Literal["cancel", "answer", "retry", "expire"]
    mission_id: Token
    reason: Line = ""
    answer: Any = None
    goal: Line = ""
    about: Line = ""


#: What the first goal that fails for good does: end its mission at once, or only after all that does not need it.
OnFailure = Literal["fail", "continue"]


class ChatEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What comes in: a text, or goals, or a command. `id` makes a repeat recognisable."""

    id: Line = ""
    conversation: Token = DEFAULT_CONVERSATION
    sender: Line = ""
    text: Text | None = None
    at: datetime | None = None
    title: Line = ""
    queue: Token | None = None
    deadline_s: Seconds | None = None
    goals: Annotated[tuple[GoalRequest, ...], Meta(max_length=MAX_GOALS)] = ()
    on_failure: OnFailure = "fail"
    max_parallel: Annotated[int, Meta(ge=0, le=MAX_GOALS)] = 0  #: goals side by side; 0: as many as the executor allows
    command: Command | None = None
    metadata: dict[str, Any] = {}


class Mission(Struct, frozen=True, kw_only=True):
    """One piece of work, as proposed: the first record of a mission and its work item."""

    mission_id: Token
    goals: tuple[Goal, ...]
    event_id: Line
    at: datetime
    title: Line = ""
    queue: Token = DEFAULT_QUEUE
    conversation: Token = DEFAULT_CONVERSATION
    requested_by: Line = ""
    deadline: datetime | None = None
    causation_id: Line = ""  #: the id of the chat event
    retry_of: Line = ""
    on_failure: OnFailure = "fail"
    max_parallel: Annotated[int, Meta(ge=0, le=MAX_GOALS)] = 0
    after: Line = ""  #: the record that put it back into its queue; empty in the first proposal
    schema: int = field(default=SCHEMA)


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something failed: the exception's type and its message, cut to what a reader needs."""

    type: str
    message: str


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a goal is, in its handler's own unit."""

    done: float
    total: float | None = None
    note: str = ""
    eta_s: float | None = None  #: seconds left, at the pace so far


class Artifact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a goal made, kept in the object store: the claim check by which it is fetched and verified."""

    name: Line
    size_bytes: int
    sha256: str  #: 64 hexadecimal digits
    media_type: Line = "application/octet-stream"


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a goal asks a person. `key` tells the questions of one goal apart; `schema` is the answer's JSON Schema."""

    key: Line
    text: str
    schema: dict[str, Any] = {}
    expires_at: datetime | None = None
    problem: str = ""  #: why the answer before was not taken


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was answered, and by whom; `expired`: nobody did in time, and `value` says nothing."""

    key: Line
    value: Any = None
    by: Line = ""
    expired: bool = False


class LogLine(Struct, frozen=True, kw_only=True):
    """A line that a handler logged."""

    at: datetime
    level: str
    text: str


class GoalStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a status record says about one goal; `attempt` counts the tries of this goal."""

    id: Token
    kind: Line
    status: str
    attempt: int = 1
    result: Any = None
    error: Failure | None = None
    progress: Progress | None = None
    question: Question | None = None
    answer: Answer | None = None
    checkpoint: Any = None
    retry_at: datetime | None = None  #: when a try that failed is repeated
    artifacts: tuple[Artifact, ...] = ()
    log: tuple[LogLine, ...] = ()  #: what the handler logged since the record before


class StatusRecord(Struct, frozen=True, kw_only=True):
    """One change of a mission. `attempt` numbers its owners from 1; 0 means nobody owned it."""

    event_id: Line
    mission_id: Token
    status: Status
    core: Core
    at: datetime
    actor: Line
    phase: Line = ""
    reason: Line = ""  #: always set on a terminal record
    attempt: Count = 0
    goal: GoalStatus | None = None
    result: Any = None
    error: Failure | None = None
    causation_id: Line = ""
    schema: int = field(default=SCHEMA)


ReplyKind = Literal["accepted", "progress", "question", "result", "error"]


class Reply(Struct, frozen=True, kw_only=True):
    """What a bot may post as it comes; one of each kind per mission, but for progress and question."""

    mission_id: Token
    kind: ReplyKind
    text: str
    at: datetime
    in_reply_to: Line = ""  #: the id of the chat event
    goal: Line = ""  #: which goal asks, of a `question`
    question: Question | None = None  #: what it asks, for a bot that shows buttons


class KindSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A goal kind as its executors announce it, so that the orchestrator can plan for it."""

    kind: Line
    queue: Token = DEFAULT_QUEUE
    description: Line = ""
    phrases: tuple[Line, ...] = ()
    params_schema: dict[str, Any] = {}
    isolation: Line = ""  #: where it runs: `loop`, `thread`, …
    timeout_s: float | None = None  #: of one try, where the kind declares one
    retries: int = 0  #: tries after the first
    off: Line = ""  #: what to set or install before it can run here; empty: it can


class JournalRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal; `data` is the message as published."""

    seq: int
    time: str  #: broker time, RFC 3339 with nanoseconds
    subject: str
    crc: str  #: CRC-32 of the line without this member, 8 hexadecimal digits
    prev: str  #: the first 16 hexadecimal digits of the SHA-256 of the line before; sixteen zeros in the first line
    data: Raw
    encoding: str = ""  #: "base64" where the message is not JSON: `data` is then a string that holds its bytes


def status_record(  # noqa: PLR0913 - a record has this many parts
    *,
    event_id: str,
    mission_id: str,
    status: Status,
    actor: str,
    attempt: int = 0,
    phase: str = "",
    reason: str = "",
    goal: GoalStatus | None = None,
    result: Any = None,
    error: Failure | None = None,
    causation_id: str = "",
) -> StatusRecord:
    """Build a status record; `core` and `at` follow from the rest."""
    return StatusRecord(
        event_id=event_id,
        mission_id=mission_id,
        status=status,
        core=CORE[status],
        at=now(),
        actor=actor,
        attempt=attempt,
        phase=phase,
        reason=reason,
        goal=goal,
        result=result,
        error=error,
        causation_id=causation_id,
    )
