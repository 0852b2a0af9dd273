"""Identifiers: deterministic where a repeat must be recognised, checked where they enter a subject."""

from __future__ import annotations

import base64
import hashlib
import re

from contracts.errors import InvalidIdentifier

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KIND = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}")
_MISSION_ID = re.compile(r"[a-z2-7]{26}")
_MISSION_ID_LENGTH = 26
_DIGEST_BYTES = 20  #: whole groups of base32 that hold as much


def is_token(text: str) -> bool:
    """Tell whether `text` may stand as one token of a subject."""
    return _TOKEN.fullmatch(text) is not None


def check_token(text: str, what: str) -> str:
    """Return `text`, or raise `InvalidIdentifier` naming `what` it was meant to be."""
    if is_token(text):
        return text
    raise InvalidIdentifier(f"{what} {text[:80]!r} is not 1 to 64 of A-Z a-z 0-9 _ -")


def is_kind(text: str) -> bool:
    """Tell whether `text` may be a goal kind: one to four tokens joined by dots, such as `http.get`."""
    return _KIND.fullmatch(text) is not None


def check_kind(text: str) -> str:
    """Return the goal kind `text`, or raise `InvalidIdentifier`."""
    if is_kind(text):
        return text
    raise InvalidIdentifier(f"goal kind {text[:80]!r} is not one to four words of A-Z a-z 0-9 _ - joined by dots")


def is_mission_id(text: str) -> bool:
    """Tell whether `text` has the shape of a mission id."""
    return _MISSION_ID.fullmatch(text) is not None


def mission_id(conversation: str, chat_event_id: str) -> str:
    """Return the one mission id that a chat event can ever have: 26 characters of base32, lower case."""
    digest = hashlib.sha256(f"{len(conversation)}:{conversation}:{chat_event_id}".encode()).digest()
    return base64.b32encode(digest[:_DIGEST_BYTES]).decode().lower()[:_MISSION_ID_LENGTH]


def record_id(mission: str, attempt: int, number: int) -> str:
    """Return the event id of an attempt's n-th record; attempt 0 is the orchestrator's."""
    return f"{mission}.{attempt}.{number}"


def sweep_id(mission: str, lost: int) -> str:
    """Return the event id of the work item that takes the place of a lost one, by the sequence of that."""
    return f"{mission}.sweep.{lost}"


def is_sweep_id(event_id: str) -> bool:
    """Tell the event id of a work item that was put back because the one before was lost."""
    return ".sweep." in event_id
