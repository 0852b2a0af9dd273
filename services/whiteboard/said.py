"""What records say to a view: the contract's messages, read without unpacking what is only kept. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from contracts import codec, subjects
from contracts.errors import DecodeError
from contracts.lifecycle import Status
from contracts.messages import Artifact, Failure
from services.whiteboard.record import Record

NULL = Raw(b"null")


class GoalProposal(Struct, frozen=True):
    """One goal as proposed."""

    id: str
    kind: str
    params: Raw = NULL
    needs: tuple[str, ...] = ()


class Proposal(Struct, frozen=True):
    """What a proposal says about a mission."""

    mission_id: str
    goals: tuple[GoalProposal, ...]
    title: str = ""
    queue: str = subjects.DEFAULT_QUEUE
    conversation: str = subjects.DEFAULT_CONVERSATION
    requested_by: str = ""
    deadline: str | None = None
    retry_of: str = ""


class GoalChange(Struct, frozen=True):
    """What a status record says about one goal."""

    id: str
    status: str
    attempt: int = 1
    result: Raw = NULL
    error: Failure | None = None
    progress: Raw = NULL
    question: Raw = NULL
    answer: Raw = NULL
    artifacts: tuple[Artifact, ...] = ()
    log: tuple[Raw, ...] = ()


class Change(Struct, frozen=True):
    """What a status record says about a mission."""

    mission_id: str
    status: Status
    phase: str = ""
    reason: str = ""
    attempt: int = 0
    goal: GoalChange | None = None
    result: Raw = NULL
    error: Failure | None = None


Said = TypeVar("Said", Proposal, Change)

_decode_proposal = msgspec.json.Decoder(Proposal).decode
_decode_change = msgspec.json.Decoder(Change).decode


def read_proposal(record: Record) -> Proposal:
    """Read a proposal; raises `DecodeError`."""
    return _read(_decode_proposal, record)


def read_change(record: Record) -> Change:
    """Read a status record; raises `DecodeError`, for an unknown status too."""
    return _read(_decode_change, record)


def _read(decode: Callable[[bytes], Said], record: Record) -> Said:
    try:
        codec.check_limits(record.data)
        said = decode(record.data)
    except Exception as error:
        raise DecodeError(str(error) or type(error).__name__) from error
    if said.mission_id != record.mission_id:
        raise DecodeError(f"the record speaks of {said.mission_id!r}", pointer="/mission_id")
    return said
