"""Artifacts: what a goal made, or a result too large for a record, kept in the object store. Pure.

An object is named by mission, goal, content and name. So what an attempt that lost its mission still stores stands
beside what its successor stored, never in its place: the record, which only the owner can write, says which one counts.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Any, NamedTuple

import msgspec

from contracts.errors import InvalidIdentifier
from contracts.ids import is_mission_id, is_token
from contracts.messages import Artifact

#: A result larger than this is kept in the object store; its record carries the claim check.
INLINE_RESULT_BYTES = 64 * 1024
#: The largest result that is kept at all.
MAX_RESULT_BYTES = 16 * 1024 * 1024
#: How many artifacts one try at a goal may keep: each is named in a record.
MAX_ARTIFACTS = 100
#: The name of a large result among the artifacts of its goal.
RESULT = "result"
JSON = "application/json"
UNKNOWN = "application/octet-stream"

_CLAIM = "$artifact"
_MAX_NAME = 128
_NO_FILE_NAME = re.compile(r'[\\/:*?"<>|]')
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGITS = 16  #: of the content's hash, in the name of its object
_PARTS = 4


class ObjectName(NamedTuple):
    """What the name of an object says."""

    mission_id: str
    goal_id: str
    content: str  #: the first hexadecimal digits of the SHA-256
    name: str

    def __str__(self) -> str:
        """Return the name as the object store has it."""
        return "/".join(self)


def object_name(mission_id: str, goal_id: str, artifact: Artifact) -> ObjectName:
    """Return where an artifact of a goal is kept."""
    return ObjectName(mission_id, goal_id, artifact.sha256[:_DIGITS], artifact.name)


def parse_object_name(text: str) -> ObjectName | None:
    """Take the name of an object apart; None for one that is not ours."""
    parts = text.split("/")
    if len(parts) != _PARTS or not (is_mission_id(parts[0]) and is_token(parts[1]) and len(parts[2]) == _DIGITS):
        return None
    return ObjectName(*parts)


def check_name(name: str) -> str:
    """Return `name`, or raise `InvalidIdentifier`: it must be the name of one file on any system."""
    printable = all(letter.isprintable() and unicodedata.category(letter) != "Cs" for letter in name)
    if not name or len(name) > _MAX_NAME or not printable or _NO_FILE_NAME.search(name):
        raise InvalidIdentifier(
            f'artifact name {name[:80]!r} is not 1 to {_MAX_NAME} characters without \\ / : * ? " < > |'
        )
    if name != name.strip(" ."):
        raise InvalidIdentifier(f"artifact name {name!r} begins or ends with a dot or a blank")
    return name


def check_media_type(media_type: str | None, name: str) -> str:
    """Return the media type, guessed from the file name where none is given; raises `InvalidIdentifier`."""
    if media_type is None:
        guessed, encoding = mimetypes.guess_type(name)
        return guessed if guessed and not encoding else UNKNOWN
    if not is_media_type(media_type):
        raise InvalidIdentifier(f"{media_type[:80]!r} is no media type such as text/csv")
    return media_type


def is_media_type(text: str) -> bool:
    """Tell whether `text` is a media type without parameters."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """Tell whether `text` is a SHA-256 in hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


class _Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claim check of a large result, as it stands in place of the result."""

    artifact: str = msgspec.field(name=_CLAIM)
    size_bytes: int
    sha256: str
    media_type: str


_decode_claim = msgspec.json.Decoder(_Claim).decode


def claim_check(artifact: Artifact) -> bytes:
    """Return what a record carries in place of a result that is kept as this artifact."""
    claim = _Claim(artifact=RESULT, size_bytes=artifact.size_bytes, sha256=artifact.sha256, media_type=JSON)
    return msgspec.json.encode(claim)


def claimed(result: Any) -> Artifact | None:
    """Return the artifact that holds a result, if what stands in its place is a claim check; else None."""
    try:
        claim = _decode_claim(result) if isinstance(result, msgspec.Raw) else msgspec.convert(result, _Claim)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
    if claim.artifact != RESULT or not is_sha256(claim.sha256):
        return None
    return Artifact(name=RESULT, size_bytes=claim.size_bytes, sha256=claim.sha256, media_type=JSON)
