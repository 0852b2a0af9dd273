"""Compare-and-set writes with group commit: the hot path.

Concurrent writers share one atomic batch, so that one fsync stores hundreds of records. Every message keeps its own
expected sequence; when the broker refuses a batch, its messages go one by one, and only the one that lost fails.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import count
from time import monotonic

import structlog
from nats.errors import Error as NatsError

from contracts import headers as names
from contracts.codec import MAX_MESSAGE_BYTES
from contracts.errors import ContractError, MaybeStored, TooLarge
from services.runtime import refusals
from services.runtime.bus import ApiError, Bus, PubAck, Unanswered

log = structlog.get_logger()

WRITE_WITHIN_S = 20.0
_MAX_BATCH = 1_000
_MAX_BATCH_BYTES = 1_000_000
#: Up to this many waiting are cheaper as single publishes: a batch costs two fsyncs.
_FEW = 5
#: A further batch may overtake the wire only when this many wait; else they gather.
_WORTH_A_FLIGHT = 64
_MAX_IN_FLIGHT = 4


class _Write:
    """One message that waits for its acknowledgement."""

    __slots__ = ("data", "done", "expected", "headers", "subject")

    def __init__(self, subject: str, data: bytes, expected: int | None, headers: dict[str, str] | None) -> None:
        self.subject = subject
        self.data = data
        self.expected = expected
        self.headers = headers
        self.done: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()

    def header(self) -> dict[str, str]:
        """Return what this message says, in a dictionary of its own: nats-py writes into what it gets."""
        header = dict(self.headers or {})
        if self.expected is not None:
            header[names.EXPECTED_LAST_SUBJECT_SEQ] = str(self.expected)
        return header

    def succeed(self, ack: PubAck) -> None:
        if not self.done.done():
            self.done.set_result(ack)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """Writes to one stream. Returns only after the broker has the record on disk."""

    def __init__(self, bus: Bus, stream: str, within_s: float = WRITE_WITHIN_S) -> None:
        self._bus = bus
        self._within_s = within_s
        self._stream = stream
        self._waiting: list[_Write] = []
        self._in_flight = 0
        self._scheduled = False
        self._flights: set[asyncio.Task[None]] = set()
        self._retries: set[asyncio.Task[None]] = set()
        self._batch_ids = count()
        self._batch_prefix = f"{random.getrandbits(64):016x}"
        self.batches_refused = 0
        self.acks_recognised = 0

    async def write(
        self,
        subject: str,
        data: bytes,
        *,
        event_id: str = "",
        expected: int | None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Store `data` as the next record of `subject` and return its stream sequence.

        `expected` is the sequence of the last record that the caller knows there (0: none; None: do not compare).
        Raises `Lost` when another record stands there, `StreamFull`, `MaybeStored` when nobody can tell within
        `within_s`, and `ContractError` for what the broker refuses for good. `event_id` is only named in errors.
        """
        return (await self.acked(subject, data, expected=expected, headers=headers)).seq

    async def acked(
        self, subject: str, data: bytes, *, expected: int | None = None, headers: dict[str, str] | None = None
    ) -> PubAck:
        """Like `write`, but return the whole acknowledgement: with a `Nats-Msg-Id` it may be a duplicate's."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"the record for {subject} has {len(data)} bytes, {MAX_MESSAGE_BYTES} are allowed")
        write = _Write(subject, data, expected, headers)
        self._waiting.append(write)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._take_off)
        return await write.done

    def _take_off(self) -> None:
        """Send what gathered, unless it is better to gather on."""
        self._scheduled = False
        while self._waiting and (
            self._in_flight == 0 or (self._in_flight < _MAX_IN_FLIGHT and len(self._waiting) >= _WORTH_A_FLIGHT)
        ):
            self._in_flight += 1
            flight = asyncio.get_running_loop().create_task(self._fly(self._next_batch()))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._in_flight -= 1
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._take_off)

    def _next_batch(self) -> list[_Write]:
        """Take what fits one batch; a subject that is compared may stand in it only once."""
        batch: list[_Write] = []
        later: list[_Write] = []
        seen: set[str] = set()
        size = 0
        for write in self._waiting:
            size += len(write.data)
            full = len(batch) >= _MAX_BATCH or (batch and size > _MAX_BATCH_BYTES)
            if full or (write.expected is not None and write.subject in seen):
                later.append(write)
            else:
                seen.add(write.subject)
                batch.append(write)
        self._waiting = later
        return batch

    async def _fly(self, batch: list[_Write]) -> None:
        try:
            if len(batch) > _FEW and await self._commit(batch):
                return
            for write, error in zip(batch, await asyncio.gather(*map(self._try, batch)), strict=True):
                if error is not None:
                    self._keep(asyncio.get_running_loop().create_task(self._persist(write, error)))
        except BaseException as error:
            for write in batch:
                write.fail(error if isinstance(error, Exception) else MaybeStored())
            raise

    async def _commit(self, batch: list[_Write]) -> bool:
        """Store a batch as one; return False when it must go one by one."""
        batch_id = f"{self._batch_prefix}-{next(self._batch_ids)}"
        messages = [(write.subject, write.header(), write.data) for write in batch]
        try:
            ack = await self._bus.publish_batch(batch_id, messages)
        # a batch cut short is nothing: no commit, no record
        except (ApiError, Unanswered, NatsError, OSError) as error:
            self.batches_refused += 1
            log.debug("batch_refused", stream=self._stream, size=len(batch), error=str(error))
            return False
        first = ack.seq - len(batch) + 1
        for number, write in enumerate(batch):
            write.succeed(PubAck(ack.stream, first + number))
        return True

    async def _try(self, write: _Write) -> MaybeStored | None:
        """Publish one message by itself; return why it must be tried again, or None when its writer knows."""
        try:
            write.succeed(await self._publish(write))
        except Unanswered as unanswered:
            return MaybeStored(f"{write.subject}: {unanswered}")
        except ApiError as refusal:
            if refusal.err_code in refusals.NOT_NOW:
                return MaybeStored(f"{write.subject}: {refusal}")
            write.fail(refusals.error_of(write.subject, refusal))
        except Exception as final:  # noqa: BLE001 - whatever it is, the writer of this record must learn it
            write.fail(final)
        return None

    async def _persist(self, write: _Write, error: MaybeStored) -> None:
        """Repeat the same bytes until the broker says what became of them, beside all other writes."""
        for pause in pauses(self._within_s):
            await asyncio.sleep(pause)
            again = await self._try(write)
            if again is None:
                return
            error = again
        write.fail(error)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task until it is done: the loop itself does not."""
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _publish(self, write: _Write) -> PubAck:
        try:
            ack = await self._bus.publish_acked(write.subject, write.data, write.header())
        except ApiError as refusal:
            if refusal.err_code in refusals.WRONG_LAST_SEQ:
                return await self._whose(write)
            raise
        if ack.stream != self._stream:
            raise ContractError(f"{write.subject} is captured by stream {ack.stream}, not {self._stream}")
        return ack

    async def _whose(self, write: _Write) -> PubAck:
        """Find out whether the record that stands is this write, whose acknowledgement was lost.

        The bytes are compared, not only the event id: two claimants of one attempt share the id, never the bytes.
        """
        head = await self._bus.head(self._stream, write.subject)
        if head is not None and head.data == write.data:
            self.acks_recognised += 1
            return PubAck(self._stream, head.seq)
        raise refusals.lost(write.subject, head)


def pauses(seconds: float) -> Iterator[float]:
    """Yield growing pauses with jitter, 50 ms to 2 s, until the time is up."""
    until = monotonic() + seconds
    pause = 0.05
    while monotonic() < until:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        pause = min(pause * 2, 2.0)
