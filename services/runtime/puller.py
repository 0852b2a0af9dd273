"""Pulling from a durable consumer: one open request at a time, never more messages than its owner can start.

Not nats-py's `fetch`: that costs a timer per message, and cancelling it leaves an orphan that pulls on. Here a request
asks for `credit` messages and stays open until they came, it expired, or the connection was lost.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from time import monotonic

import msgspec
import structlog
from nats.aio.subscription import Subscription

from contracts.errors import BrokerError, MaybeStored
from services.runtime.bus import ApiError, Bus, Unanswered
from services.runtime.incoming import Incoming

log = structlog.get_logger()

REQUEST_EXPIRES_S = 10.0
_GRACE_S = 2.0
_RETRY_S = 0.5
_BENIGN = frozenset({"404", "408"})


class Puller:
    """The messages of one durable, in the order they came."""

    def __init__(self, bus: Bus, stream: str, durable: str) -> None:
        self.stream = stream
        self.durable = durable
        self.arrived = asyncio.Event()
        self.ack_wait_s = 0.0  #: after this long the broker gives an unanswered message to another
        self.problem = "no request was answered yet"  #: why nothing can come now; empty when pulling works
        self.buffer: deque[Incoming] = deque()
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = bus.nats.new_inbox()
        self._subscription: Subscription | None = None
        self._numbers = itertools.count()
        self._request = ""  #: the inbox of the open request
        self._credit = 0  #: how many messages it may still bring
        self._expires_at = 0.0
        self._not_before = 0.0
        bus.on_reconnect(self.forget_request)

    @property
    def credit(self) -> int:
        """How many messages may still come without a further request."""
        return self._credit

    async def open(self) -> None:
        """Subscribe, and find out that the consumer exists; raises `BrokerError`."""
        if self._subscription is None:
            self._subscription = await self._bus.nats.subscribe_direct(f"{self._inbox}.*", self._take)
            await self.check()

    async def check(self) -> None:
        """Raise `BrokerError` unless the durable consumer is there."""
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{self.stream}.{self.durable}")
        except ApiError as error:
            raise BrokerError(f"No consumer {self.durable} on {self.stream}. Run: missions setup") from error
        except Unanswered as error:
            raise BrokerError(f"cannot ask for consumer {self.durable} on {self.stream}: {error}") from error
        self.ack_wait_s = info["config"].get("ack_wait", 0) / 1e9
        self.problem = ""

    async def ask(self, credit: int, seconds: float = REQUEST_EXPIRES_S) -> None:
        """Ask for up to `credit` messages, unless a request is open or the last one failed just now."""
        now = monotonic()
        if self._credit and now > self._expires_at + _GRACE_S:
            self.problem = "the last request was not answered"
            self.forget_request()
        if self._credit or credit < 1 or now < self._not_before:
            return
        if not self._bus.connected:  # or requests would gather for the reconnect, and bring more than can start
            self.problem = "not connected to NATS"
            return
        self._request = f"{self._inbox}.{next(self._numbers)}"
        self._credit = credit
        self._expires_at = now + seconds
        body = msgspec.json.encode({"batch": credit, "expires": int(seconds * 1e9)})
        try:
            await self._bus.publish(self._next, body, reply=self._request)
        except MaybeStored as error:
            self.problem = str(error)
            self._not_before = now + _RETRY_S
            self.forget_request()

    async def wait(self, seconds: float) -> None:
        """Wait until something came (or a request ended), at most `seconds`."""
        try:
            await asyncio.wait_for(self.arrived.wait(), seconds)
        except TimeoutError:
            return
        self.arrived.clear()

    async def fetch(self, batch: int, seconds: float = 1.0) -> list[Incoming]:
        """Return at once what is there, at most `batch`; an empty list when nothing came within `seconds`."""
        await self.open()
        if not self.buffer:
            self.arrived.clear()
            await self.ask(batch)
            await self.wait(seconds)
        return [self.buffer.popleft() for _ in range(min(batch, len(self.buffer)))]

    async def more(self, batch: int) -> list[Incoming]:
        """Return what is there already, at most `batch`, and let further messages come meanwhile."""
        await self.ask(batch)
        return [self.buffer.popleft() for _ in range(min(batch, len(self.buffer)))]

    def discard(self) -> list[Incoming]:
        """Forget the open request and return what was not handed over."""
        self.forget_request()
        rest = list(self.buffer)
        self.buffer.clear()
        return rest

    async def close(self) -> None:
        """Stop pulling; the broker notices that nobody listens."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    def forget_request(self) -> None:
        """Give the open request up, as after a reconnect."""
        self._credit = 0
        self._request = ""
        self.arrived.set()

    def _take(self, message: Incoming) -> None:
        if message.reply:
            self._credit = max(0, self._credit - 1)
            self.problem = ""
            self.buffer.append(message)
        elif message.subject == self._request:
            self._ended(message)
        self.arrived.set()

    def _ended(self, status: Incoming) -> None:
        """Note why the open request ended: expired or empty is normal, anything else is said and slows down."""
        code = status.headers.get("Status", "")
        self._credit = 0
        if code in _BENIGN:
            self.problem = ""
            return
        why = status.headers.get("Description", "no responders")
        self.problem = f"pulling {self.durable} on {self.stream}: {code} {why}"
        self._not_before = monotonic() + _RETRY_S
        log.warning("pull_refused", stream=self.stream, durable=self.durable, status=code)
