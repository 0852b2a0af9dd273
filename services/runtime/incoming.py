"""What comes from the broker: a delivery that may be acknowledged, or a stored message that was read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from time import gmtime, strftime

import msgspec

_V1_TOKENS = 9
_NANO = 1_000_000_000


class Stored(msgspec.Struct, frozen=True):
    """A message of a stream, as read."""

    subject: str
    seq: int
    time_ns: int
    data: bytes
    headers: dict[str, str]


class Incoming:
    """A message as delivered. For a stream's message the acknowledgement subject tells its place."""

    __slots__ = ("_tokens", "data", "headers", "reply", "subject")

    def __init__(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str]) -> None:
        self.subject = subject
        self.data = data
        self.reply = reply
        self.headers = headers
        self._tokens: list[str] = []

    @property
    def _place(self) -> list[str]:
        """The last tokens: deliveries, stream sequence, consumer sequence, time, pending (v1 and v2 alike)."""
        if not self._tokens:
            tokens = self.reply.split(".")
            self._tokens = tokens[4:9] if len(tokens) == _V1_TOKENS else tokens[6:11]
        return self._tokens

    @property
    def deliveries(self) -> int:
        """How often this message was delivered, from 1."""
        return int(self._place[0])

    @property
    def seq(self) -> int:
        """The stream sequence."""
        return int(self._place[1])

    @property
    def time_ns(self) -> int:
        """When the broker stored it, in nanoseconds since the epoch."""
        return int(self._place[3])

    @property
    def time(self) -> str:
        """When the broker stored it, RFC 3339 with nine digits."""
        return rfc3339(self.time_ns)


_last_second = (0, "")


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since the epoch as RFC 3339 in UTC with nine digits."""
    global _last_second  # noqa: PLW0603 - a one-entry cache: records of one second come together
    seconds, nanos = divmod(time_ns, _NANO)
    if _last_second[0] != seconds:
        _last_second = (seconds, strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)))
    return f"{_last_second[1]}.{nanos:09d}Z"


def utc(time_ns: int) -> datetime:
    """Return nanoseconds since the epoch as a time, to the microsecond."""
    return datetime.fromtimestamp(time_ns / _NANO, UTC)


def nanoseconds(time: str) -> int:
    """Turn the broker's RFC 3339 time, up to nine digits, into nanoseconds since the epoch."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * _NANO + int(fraction.ljust(9, "0") or 0)


def header_map(raw: bytes) -> dict[str, str]:
    """Parse the lines of a header block, `Name: value`; a line without colon, such as the version, says nothing."""
    found: dict[str, str] = {}
    for line in raw.decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip()
    return found
