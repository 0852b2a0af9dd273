"""Is this still the stream that the journal is a copy of? Pure: the stream's state in, a verdict out."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from services.whiteboard.record import Record, identity

_SECOND = 19  #: characters of a time down to the second


class StreamState(Protocol):
    """Where the stream stands."""

    @property
    def created(self) -> str: ...
    @property
    def first_seq(self) -> int: ...
    @property
    def last_seq(self) -> int: ...


class Fork(Struct, frozen=True):
    """The stream is not the one that the journal copied; nothing of it may follow here."""

    reason: str
    stream_created: str
    stream_last_seq: int
    journal_last_seq: int


class Gap(Struct, frozen=True):
    """The stream has lost messages before they were journalled: `first` to `last`."""

    first: int
    last: int


def judge(
    last_seq: int,
    last_message: Record | None,
    state: StreamState,
    there: tuple[bytes, str] | None,
    *,
    forked: bool = False,
) -> Fork | Gap | None:
    """Compare the journal's end with the stream.

    `last_message` is the journal's last record from the stream, `there` the (data, time) that the stream has at
    its sequence, None where it has nothing. Event ids alone prove nothing, as the same chat events make the same ones
    in a stream made anew: the broker's times do. A journal that has met a fork (`forked`) believes only that proof.
    """
    if state.last_seq < last_seq:
        return _fork(f"the stream ends at {state.last_seq}, the journal at {last_seq}", last_seq, state)
    if last_message is not None and there is not None:
        known = _named(last_message.data, last_message.time)
        found = _named(*there)
        if known != found:
            reason = f"sequence {last_message.seq} is {found} in the stream and {known} in the journal"
            return _fork(reason, last_seq, state)
    elif forked:
        return _fork("nothing shows that the stream is the journal's again", last_seq, state)
    if there is None and state.first_seq <= last_seq and _made_after(last_message, state):
        return _fork(f"the stream was made anew at {state.created}", last_seq, state)
    if state.first_seq > last_seq + 1:
        return Gap(last_seq + 1, state.first_seq - 1)
    return None


def _named(data: bytes, time: str) -> str:
    return f"{identity(data, time)} of {time}"


def _fork(reason: str, last_seq: int, state: StreamState) -> Fork:
    return Fork(reason, state.created, state.last_seq, last_seq)


def _made_after(last_message: Record | None, state: StreamState) -> bool:
    return last_message is not None and state.created[:_SECOND] > last_message.time[:_SECOND]
