"""The one consume loop: where an outcome becomes ack, nak, term or a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import msgspec
import structlog

from contracts.errors import ContractError, Lost, MaybeStored, MissionsError, WriteError
from services.runtime import deadletters
from services.runtime.bus import ApiError, Bus
from services.runtime.health import Health
from services.runtime.incoming import Incoming
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.puller import Puller

log = structlog.get_logger()

Handle = Callable[[Incoming], Awaitable[None]]

ACK = b"+ACK"
IN_PROGRESS = b"+WPI"
_NAK_S = 1.0
_HANDED_BACK_S = 0.1
_LOOK_EVERY_S = 1.0
_CHECK_EVERY_S = 30.0
_OUTCOMES = ("stored", "skipped", "lost", "dead_letter", "not_stored", "failed")


class Consumer:
    """Hands messages of one durable to a handler, at most `slots` at once.

    The handler returns when its output is stored: the message is acknowledged. It raises `ContractError` when the
    message cannot be understood: it goes whole to `deadletters.<service>` and is terminated. `Lost` means another
    owner has it: nothing at all is sent. Any other failure: not stored, delivered again after a pause; or, where nobody
    could tell for long whether it is stored, when the broker finds that it was held too long.
    """

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self, bus: Bus, stream: str, durable: str, *, service: str, slots: int, metrics: Metrics, health: Health
    ) -> None:
        self._bus = bus
        self._puller = Puller(bus, stream, durable)
        self._service = service
        self._slots = slots
        self._health = health
        self._part = f"consumer {stream}/{durable}"
        self._running: set[asyncio.Task[None]] = set()
        counter = metrics.counter("consumed", "Messages by what became of them", ("outcome",))
        self._count = {outcome: counter.labels(outcome).inc for outcome in _OUTCOMES}
        self._checked_at = 0.0
        health.expect(self._part)

    async def run(
        self, handle: Handle, stop: Stop, grace_s: float = 2.0, *, skip: Callable[[Incoming], bool] | None = None
    ) -> None:
        """Consume until `stop`; then give back what has not started and let what runs finish within `grace_s`.

        What `skip` tells is acknowledged without being handled: a task for it would cost more than the look. It may not
        raise.
        """
        await self._puller.open()
        waking = asyncio.ensure_future(self._wake_on(stop))
        try:
            while not stop.is_set():
                await self._turn(handle, skip or _nothing)
        finally:
            waking.cancel()
            await self._wind_up(grace_s)

    async def _turn(self, handle: Handle, skip: Callable[[Incoming], bool]) -> None:
        """Ask for what can start, wait for something to come, start it."""
        puller = self._puller
        await puller.ask(self._slots - len(self._running) - len(puller.buffer))
        await self._report()
        if not puller.buffer:
            await puller.wait(_LOOK_EVERY_S)
        puller.arrived.clear()
        while puller.buffer and len(self._running) < self._slots:
            incoming = puller.buffer.popleft()
            if skip(incoming):
                self._answer(incoming, ACK, "skipped")
            else:
                self._start(handle, incoming)

    def _start(self, handle: Handle, incoming: Incoming) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(handle, incoming))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._puller.credit == 0:
            self._puller.arrived.set()

    async def _handle(self, handle: Handle, incoming: Incoming) -> None:
        """Let the handler work, then answer the broker: the only place that does."""
        began = monotonic()
        try:
            await handle(incoming)
        except Lost as error:
            self._count["lost"]()
            log.info("ownership_lost", subject=incoming.subject, error=str(error))
        except ContractError as error:
            await self._dead_letter(incoming, error)
        except WriteError as error:
            self._not_stored(incoming, error, monotonic() - began)
        except Exception:
            self._answer(incoming, nak(_NAK_S), "failed")
            log.exception("handler_failed", subject=incoming.subject, service=self._service)
        else:
            self._answer(incoming, ACK, "stored")

    def _not_stored(self, incoming: Incoming, error: WriteError, held_s: float) -> None:
        """Ask for the message again, unless somebody else may have it by now: a late nak would take it from them."""
        log.warning("not_stored", subject=incoming.subject, error=str(error))
        if isinstance(error, MaybeStored) and held_s > self._puller.ack_wait_s / 2:
            self._count["not_stored"]()
        else:
            self._answer(incoming, nak(_NAK_S), "not_stored")

    def _answer(self, incoming: Incoming, answer: bytes, outcome: str) -> None:
        self._bus.answer(incoming, answer)
        self._count[outcome]()

    async def _dead_letter(self, incoming: Incoming, error: MissionsError) -> None:
        """Keep the whole message with the reason, and only then drop it; else it comes again."""
        try:
            await deadletters.keep(
                self._bus,
                self._service,
                stream=self._puller.stream,
                seq=incoming.seq,
                subject=incoming.subject,
                data=incoming.data,
                reason=str(error),
            )
        except (ApiError, WriteError) as failure:
            log.warning("dead_letter_not_stored", subject=incoming.subject, error=str(failure))
            self._answer(incoming, nak(_NAK_S), "not_stored")
            return
        log.warning("dead_letter", subject=incoming.subject, seq=incoming.seq, reason=str(error))
        self._answer(incoming, b"+TERM " + type(error).__name__.encode(), "dead_letter")

    async def _report(self) -> None:
        """Be ready only while pulling works; look the consumer up where it does not, and now and then."""
        now = monotonic()
        if self._puller.problem or now > self._checked_at + _CHECK_EVERY_S:
            self._checked_at = now
            try:
                await self._puller.check()
            except MissionsError as error:
                self._puller.problem = str(error)
        if self._puller.problem:
            self._health.red(self._part, self._puller.problem)
        else:
            self._health.green(self._part)

    async def _wake_on(self, stop: Stop) -> None:
        await stop.wait()
        self._puller.arrived.set()

    async def _wind_up(self, grace_s: float) -> None:
        """Hand back what has not started, wait for what runs, then stop it."""
        for incoming in self._puller.discard():
            self._bus.answer(incoming, nak(_HANDED_BACK_S))
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
        await self._puller.close()


def _nothing(_: Incoming) -> bool:
    return False


def nak(seconds: float) -> bytes:
    """Return the answer that asks for a redelivery after `seconds`."""
    return b"-NAK " + msgspec.json.encode({"delay": int(seconds * 1e9)})
