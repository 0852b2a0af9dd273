"""The connection to NATS: opened with settings that survive, watched, closed in order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Self

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from contracts import topology
from contracts.errors import BrokerUnfit, BrokerUnreachable, MaybeStored, PermissionDenied
from services.runtime import nats_address
from services.runtime.incoming import Incoming
from services.runtime.nats_client import LeanClient, plain_frame
from services.runtime.process import Stop
from services.runtime.settings import Settings

log = structlog.get_logger()

API_SECONDS = 2.0
_WATCH_EVERY_S = 5.0
_RTTS_BEFORE_RECONNECT = 3
_RTTS_BEFORE_EXIT = 6
_EXIT_CLOSED = 70
_PING_SECONDS = 60


class Connection:
    """One connection to NATS, kept alive; ends the process when it is lost for good."""

    def __init__(self, client: LeanClient, address: nats_address.NatsAddress) -> None:
        self.nats = client
        self.address = address
        self.reconnects = 0
        self.unanswered = 0  #: requests in a row that got no answer
        self._closing = False
        self._answers_waiting: list[bytes] = []
        self._sending: set[asyncio.Future[None]] = set()
        self._ping: asyncio.Future[float] | None = None
        self._on_reconnect: list[Callable[[], None]] = []

    @classmethod
    async def connect(cls, settings: Settings, service: str) -> Self:
        """Connect within `settings.connect_s`; raises `BrokerUnreachable`, `BrokerUnfit` or `PermissionDenied`."""
        address = nats_address.find(settings)
        client = LeanClient()
        connection = cls(client, address)
        await connection._open(service, settings.connect_s)
        found = client.connected_server_version
        version = (found.major, found.minor, found.patch)
        if version < topology.OLDEST_SERVER:
            await connection.close()
            raise BrokerUnfit(
                f"nats-server {_dotted(version)} at {address.shown} is too old: "
                f"{_dotted(topology.OLDEST_SERVER)} or newer is needed"
            )
        return connection

    async def _open(self, service: str, seconds: float) -> None:
        tls = self.address.options.get("tls")
        options = self.address.options | ({"tls_handshake_first": True} if tls else {})
        first_error: list[Exception] = []
        opened = False

        async def on_error(error: Exception) -> None:
            first_error[:] = first_error or [error]
            if opened:
                self._report(error)

        opening = self.nats.connect(
            self.address.url,
            name=f"missions-{service}/{socket.gethostname()}/{os.getpid()}",
            inbox_prefix=f"_INBOX_{service}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.5,  # type: ignore[arg-type]  # nats-py sleeps for it: fractions are fine
            connect_timeout=3,
            ping_interval=5,
            max_outstanding_pings=2,
            flush_timeout=API_SECONDS,
            pending_size=2 * 1024 * 1024,
            drain_timeout=3,
            error_cb=on_error,
            reconnected_cb=self._reconnected,
            disconnected_cb=self._disconnected,
            closed_cb=self._closed,
            **options,
        )
        try:
            await asyncio.wait_for(opening, seconds)
            opened = True
        except (NatsError, OSError, TimeoutError) as error:
            raise self._unreachable(first_error[0] if first_error else error) from error

    def _unreachable(self, error: Exception) -> BrokerUnreachable | PermissionDenied:
        where = f"{self.address.shown} (from {self.address.source})"
        if "authorization" in str(error).lower():
            return PermissionDenied(f"NATS at {where} refused the credentials: {error}")
        return BrokerUnreachable(f"NATS is not reachable at {where}. Start one: missions up")

    def _report(self, error: Exception) -> None:
        """Log what nats-py reports in the background; must never raise, or its read loop dies."""
        if not self._closing:
            log.warning("nats_error", error=str(error) or type(error).__name__)

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("nats_disconnected")

    async def _reconnected(self) -> None:
        self.reconnects += 1
        log.warning("nats_reconnected", reconnects=self.reconnects)
        for callback in self._on_reconnect:
            callback()

    async def _closed(self) -> None:
        """End the process: nats-py never comes back from here."""
        if not self._closing and self.nats.connected_url is not None:
            log.error("nats_closed_for_good")
            os._exit(_EXIT_CLOSED)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call back, without waiting, after every reconnect."""
        self._on_reconnect.append(callback)

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as the client knows."""
        return bool(self.nats.is_connected)

    async def rtt(self) -> float:
        """Return the round trip in seconds."""
        return float(await self.nats.rtt(timeout=2))

    async def watch(self, stop: Stop) -> None:
        """Move or end a connection that looks alive and is not; runs until `stop`."""
        failures = 0
        while not await stop.wait(_WATCH_EVERY_S):
            if not self.connected:  # nats-py knows, and reconnects: what runs here may well outlive an outage
                failures = 0
                continue
            failures = 0 if await self._answers() else failures + 1
            if failures >= _RTTS_BEFORE_EXIT:
                log.error("nats_silent", failures=failures)
                os._exit(_EXIT_CLOSED)
            if self.unanswered >= _RTTS_BEFORE_RECONNECT or failures == _RTTS_BEFORE_RECONNECT:
                self.unanswered = 0
                await self.nats.force_reconnect()

    async def _answers(self) -> bool:
        """Tell whether the broker answers a PING in time; never give one up: a late answer ends nats-py's read loop."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.ensure_future(self.nats.rtt(timeout=_PING_SECONDS))
        await asyncio.wait({self._ping}, timeout=API_SECONDS)
        return self._ping.done() and self._ping.exception() is None

    async def close(self) -> None:
        """Flush and close; never drains (that waits its full time after an empty fetch)."""
        self._closing = True
        self._send_answers()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self.connected:
            try:
                await self.nats.flush(2)
            except (NatsError, OSError, TimeoutError):
                log.warning("nats_flush_failed")
        await self.nats.close()
        if self._ping is not None:
            self._ping.cancel()

    def answer(self, incoming: Incoming, answer: bytes) -> None:
        """Answer a delivery, with all other answers of this turn of the loop.

        Nothing comes back for an answer, and one that is lost is harmless: the message comes again. So it is not
        kept for a new connection either, on which it would answer for a delivery that may belong to somebody else.
        """
        if not self._answers_waiting:
            asyncio.get_running_loop().call_soon(self._send_answers)
        self._answers_waiting.append(plain_frame(incoming.reply, answer))

    def _send_answers(self) -> None:
        frames, self._answers_waiting = b"".join(self._answers_waiting), []
        if frames and self.connected:
            sending = asyncio.ensure_future(self.nats.write(frames))
            self._sending.add(sending)
            sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Future[None]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled() and (error := sending.exception()):
            log.warning("answers_not_sent", error=str(error) or type(error).__name__)

    async def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None, reply: str = "") -> None:
        """Publish to core NATS: at most once. Raises `MaybeStored` where the connection takes nothing now."""
        try:
            await self.nats.publish(subject, data, reply=reply, headers=headers)
        except (NatsError, OSError) as error:
            raise MaybeStored(f"cannot publish {subject} now: {error}") from error

    async def subscribe(self, subject: str, callback: Callable[[Incoming], Awaitable[None]]) -> Subscription:
        """Subscribe to core NATS: at most once."""

        async def on_message(message: Msg) -> None:
            await callback(Incoming(message.subject, message.data, message.reply, message.headers or {}))

        return await self.nats.subscribe(subject, cb=on_message)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
