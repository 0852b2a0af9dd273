"""Many messages of a stream for one request: direct gets in batches.

Any replica answers, so the last messages may be missing. What comes is in order and without a hole, or it is not used.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import NamedTuple

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.runtime.incoming import Stored, nanoseconds
from services.runtime.nats_client import LeanClient, plain_headers

log = structlog.get_logger()

_MOST = 1_000
#: A batch ends behind the message that goes beyond it: what waits in the client is bounded.
_MOST_BYTES = 4_000_000
_END_OF_BATCH = "204"
_NOT_FOUND = "404"
#: After a request that got no answer, as where direct gets are not allowed, no other is tried for this long.
_NOT_AGAIN_S = 60.0


class Batch(NamedTuple):
    """Messages in the order of the stream; `complete` where whoever answered has no more of them."""

    messages: list[Stored]
    complete: bool


class Batches:
    """Direct gets over one connection, for as long as somebody answers them."""

    def __init__(self, client: LeanClient, silence_s: float) -> None:
        self._client = client
        self._silence_s = silence_s
        self._not_before = 0.0

    async def read(self, stream: str, subject: str, seq: int, most: int = _MOST) -> Batch | None:
        """Return the next messages on a subject (wildcards work) from a sequence on; None where nobody answers."""
        if monotonic() < self._not_before:
            return None
        query = {"seq": seq, "next_by_subj": subject, "batch": most, "max_bytes": _MOST_BYTES}
        try:
            return await self._ask(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query))
        except (_Unfit, NatsError, OSError) as error:
            self._not_before = monotonic() + _NOT_AGAIN_S
            log.info("direct_get_unanswered", stream=stream, error=str(error) or type(error).__name__)
            return None

    async def _ask(self, subject: str, query: bytes) -> Batch:
        answer, inbox = _Answer(), self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=answer.take)
        try:
            await self._client.publish(subject, query, reply=inbox)
            return await answer.whole(self._silence_s)
        finally:
            await subscription.unsubscribe()


class _Unfit(Exception):
    """What came is no batch, or not all of one."""


class _Answer:
    """What comes back for one request, up to the status that ends it."""

    def __init__(self) -> None:
        self._messages: list[Stored] = []
        self._last = 0
        self._done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()

    async def take(self, message: Msg) -> None:
        """Add a message; each names the one before, so that a hole shows."""
        if self._done.done():
            return
        said = plain_headers(message)
        try:
            if "Status" in said:
                self._done.set_result(self._ended(said))
            else:
                self._add(said, message.data)
        except _Unfit as error:
            self._done.set_exception(error)

    async def whole(self, silence_s: float) -> Batch:
        """Wait for the end, for as long as something comes."""
        while not self._done.done():
            known = len(self._messages)
            await asyncio.wait({self._done}, timeout=silence_s)
            if len(self._messages) == known and not self._done.done():
                raise _Unfit(f"nothing came for {silence_s:g} s")
        return self._done.result()

    def _add(self, said: dict[str, str], data: bytes) -> None:
        self._check_last(said)
        self._last = int(said["Nats-Sequence"])
        time_ns = nanoseconds(said["Nats-Time-Stamp"])
        self._messages.append(Stored(said["Nats-Subject"], self._last, time_ns, data, said))

    def _ended(self, said: dict[str, str]) -> Batch:
        if said["Status"] == _NOT_FOUND:
            return Batch([], complete=True)
        if said["Status"] != _END_OF_BATCH:
            raise _Unfit(f"{said['Status']} {said.get('Description', '')}")
        self._check_last(said)
        return Batch(self._messages, complete=said.get("Nats-Num-Pending") == "0")

    def _check_last(self, said: dict[str, str]) -> None:
        if int(said.get("Nats-Last-Sequence", -1)) != self._last:
            raise _Unfit(f"a message is missing behind sequence {self._last}")
