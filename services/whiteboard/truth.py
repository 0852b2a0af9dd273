"""Is this still the stream that the journal is a copy of? Pure: the stream's state in, a verdict out."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from services.whiteboard.record import Record, identity


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


class Renewed(Struct, frozen=True):
    """The stream was made anew above the journal's end, and may follow.

    Whether the one before it held more than the journal has, nobody can tell; `first` to `last` will never come.
    """

    created: str
    first: int
    last: int


Verdict = Fork | Gap | Renewed


class Known(Struct, frozen=True):
    """What the journal's end says: its last sequence, its last record from the stream, and the notes behind that."""

    last_seq: int
    last_message: Record | None = None
    forked: bool = False
    created: str = ""  #: when the stream was made that a note behind `last_message` speaks of


def judge(known: Known, state: StreamState, there: tuple[bytes, str] | None) -> Verdict | None:
    """Compare the journal's end with the stream; `there` is what the stream has at `last_message`: its data and time.

    Event ids alone prove nothing, as the same chat events make the same ones in a stream made anew: the broker's times
    do. A journal that has met a fork believes only that proof.
    """
    last_seq, message = known.last_seq, known.last_message
    if state.last_seq < last_seq:
        return _fork(f"the stream ends at {state.last_seq}, the journal at {last_seq}", last_seq, state)
    if message is not None and there is not None:
        expected, found = _named(message.data, message.time), _named(*there)
        if expected != found:
            reason = f"sequence {message.seq} is {found} in the stream and {expected} in the journal"
            return _fork(reason, last_seq, state)
    elif known.forked:
        return _fork("nothing shows that the stream is the journal's again", last_seq, state)
    if there is None and _made_after(message, state) and state.created != known.created:
        return _made_anew(last_seq, state)
    if state.first_seq > last_seq + 1:
        return Gap(last_seq + 1, state.first_seq - 1)
    return None


def _made_anew(last_seq: int, state: StreamState) -> Fork | Renewed:
    if state.first_seq <= last_seq:
        return _fork(f"the stream was made anew at {state.created}", last_seq, state)
    return Renewed(state.created, last_seq + 1, state.first_seq - 1)


def _named(data: bytes, time: str) -> str:
    return f"{identity(data, time)} of {time}"


def _fork(reason: str, last_seq: int, state: StreamState) -> Fork:
    return Fork(reason, state.created, state.last_seq, last_seq)


def _made_after(last_message: Record | None, state: StreamState) -> bool:
    return last_message is not None and _nine_digits(state.created) > _nine_digits(last_message.time)


def _nine_digits(time: str) -> str:
    """Return a time of the broker in the form in which texts compare as times do."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction.ljust(9, '0')}"
