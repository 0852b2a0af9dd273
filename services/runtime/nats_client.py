"""nats-py's client with a leaner way through its hottest places: taking messages in and publishing many at once.

And with no subject that ends it: anybody who may publish to `chat.events.*` chooses a token of a subject. It overrides
some private methods and the parser, uses others and clears what waits to be sent: `tests/nats_facts` says when a new
version of nats-py changes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import BadHeaderError, BadSubjectError, ConnectionClosedError, OutboundBufferLimitError

from services.runtime.incoming import Incoming, header_map
from services.runtime.nats_parser import LeanParser

Message = tuple[str, Mapping[str, str], bytes]  #: subject, headers, data
Take = Callable[[Incoming], None]

_SUBJECT = re.compile(r"[^\s\x00]+")
_STATUS_FOLLOWS = b"NATS/1.0 "
_NO_HEADERS: Mapping[str, str] = {}
#: Python's marks for bytes that are no UTF-8, and for each what the server shows in their place.
_NO_UTF_8 = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


class LeanClient(Client):
    """A client for services that handle thousands of small messages a second."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = LeanParser(self)
        self._takers: dict[int, Take] = {}

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        message: Msg = super()._build_message(sid, readable(subject), readable(reply), data, headers)
        return message

    async def subscribe_direct(self, subject: str, take: Take) -> Subscription:
        """Subscribe with a function that takes each message as it is read: no queue and no task in between.

        So it must not be slow, and nothing bounds what comes but what was asked for.
        """

        async def on_message(message: Msg) -> None:  # one that is read before the taker is known
            take(Incoming(message.subject, message.data, message.reply, message.headers or _NO_HEADERS))

        subscription = await self.subscribe(subject, cb=on_message)
        self._takers = {sid: known for sid, known in self._takers.items() if sid in self._subs}  # others have ended
        self._takers[subscription._id] = take
        return subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        elif sid in self._subs:
            try:
                names = readable(subject).decode(), readable(reply).decode()
                take(Incoming(names[0], data, names[1], await self._headers(headers)))
            except Exception as error:  # noqa: BLE001 - it would end nats-py's read loop
                await self._error_cb(error)

    async def _headers(self, raw: bytes) -> Mapping[str, str]:
        if raw and raw.startswith(_STATUS_FOLLOWS):
            return await self._process_headers(raw) or _NO_HEADERS
        return LazyHeaders(raw) if raw else _NO_HEADERS

    @staticmethod
    def _parse_header_lines(raw: bytes) -> Mapping[str, str]:  # type: ignore[override]  # it is only read
        return LazyHeaders(raw)

    async def close(self) -> None:
        """Close; what waits for a connection that is gone goes with it: nats-py would write it to the dead socket."""
        if not self.is_connected:
            self._pending, self._pending_data_size = [], 0
        await super().close()

    async def publish_all(self, messages: Iterable[Message]) -> None:
        """Publish messages with headers, in order, as one write to the socket; raises as `publish` does."""
        await self.write(b"".join(frame(*message) for message in messages))

    async def write(self, frames: bytes) -> None:
        """Send finished protocol frames, under the same conditions as a publish."""
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected and len(frames) + self._pending_data_size > self._max_pending_size:
            raise OutboundBufferLimitError
        await self._send_command(frames)
        await self._flush_pending()


def readable(subject: bytes) -> bytes:
    """Return a subject in UTF-8: as it is, or with a mark for each byte that is none, as the server answers it."""
    if subject.isascii():
        return subject
    return subject.decode(errors="surrogateescape").translate(_NO_UTF_8).encode()


class LazyHeaders(Mapping[str, str]):
    """The headers of a message, taken apart when somebody looks: most messages are handled without."""

    __slots__ = ("_found", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._found: dict[str, str] | None = None

    def __bool__(self) -> bool:
        """Whether there is a block of headers; does not look into it."""
        return True

    def __getitem__(self, name: str) -> str:
        return self.plain()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain())

    def __len__(self) -> int:
        return len(self.plain())

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header; whether it may be there at all is seen without taking the block apart."""
        return self.plain().get(name, default) if name.encode() in self._raw else default

    def plain(self) -> dict[str, str]:
        """Return them as a dictionary, which is faster to look several things up in; it is only read."""
        if self._found is None:
            self._found = header_map(self._raw)
        return self._found


def plain_headers(message: Msg) -> dict[str, str]:
    """Return the headers of a message, to be read."""
    headers: object = message.headers
    return headers.plain() if isinstance(headers, LazyHeaders) else dict(message.headers or {})


def frame(subject: str, headers: Mapping[str, str], data: bytes) -> bytes:
    """Return the HPUB frame of a message; raises where a subject or header could smuggle in another command."""
    if not _SUBJECT.fullmatch(subject):
        raise BadSubjectError
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise BadHeaderError(subject)
    head = f"NATS/1.0\r\n{text}\r\n".encode()
    size = len(head) + len(data)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(head), size, head, data)


def plain_frame(subject: str, data: bytes) -> bytes:
    """Return the PUB frame of a message without headers, such as an answer to a delivery."""
    if not _SUBJECT.fullmatch(subject):
        raise BadSubjectError
    return b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data)
