"""Names what must not happen: a handler that blocks the handlers' loop, one that holds the GIL, ones that never stop.

It looks twice a second from the service's loop. While a handler holds the GIL nobody can look, so that is told
afterwards, by the time that is missing.
"""

from __future__ import annotations

import sys
import traceback
from time import monotonic
from types import FrameType

import structlog

from services.executor.call import Call
from services.executor.executor import Executor
from services.executor.isolation.loop import HandlerLoop
from services.runtime.health import Health
from services.runtime.metrics import Metrics
from services.runtime.process import Stop

log = structlog.get_logger()

PART = "handlers"
_LOOK_EVERY_S = 0.5
_BLOCKED_S = 1.0
_STALLED_S = 1.0
_FRAMES = 20


class Watchdog:
    """Looks at one executor."""

    def __init__(self, executor: Executor, health: Health, metrics: Metrics) -> None:
        self._executor = executor
        self._health = health
        self._blocks = LoopWatch(executor.loop, metrics)
        self._stalls = metrics.counter("executor_stalls", "Times the whole process stood still for over a second")
        detached = metrics.gauge("handlers_detached", "Handlers that were given up and go on")
        detached.set_function(lambda: sum(self._detached().values()))

    async def run(self, stop: Stop) -> None:
        """Look until `stop`."""
        looked_at = monotonic()
        while not await stop.wait(_LOOK_EVERY_S):
            now = monotonic()
            self._tell_stall(now - looked_at - _LOOK_EVERY_S)
            looked_at = now
            self._blocks.look()
            self._tell_stuck()

    def _tell_stall(self, late_s: float) -> None:
        if late_s > _STALLED_S:
            self._stalls.inc()
            log.warning(
                "executor_stalled",
                seconds=round(late_s, 1),
                hint="a handler held the GIL, or the process was frozen; isolation='process' keeps it apart",
            )

    def _tell_stuck(self) -> None:
        """Be unready while as many handlers of a kind are given up and go on as may be."""
        most = self._executor.settings.max_detached
        stuck = [f"{kind} ({count})" for kind, count in self._detached().items() if count >= most]
        if stuck:
            self._health.red(PART, f"asked to stop, and still running: {', '.join(stuck)}; restart this executor")
        else:
            self._health.green(PART)

    def _detached(self) -> dict[str, int]:
        places = self._executor.places.values()
        return {kind: count for place in places for kind, count in place.detached.items() if count}


class LoopWatch:
    """Watches the handlers' loop: a ping that is not answered in time is a handler that blocks it."""

    def __init__(self, place: HandlerLoop, metrics: Metrics) -> None:
        self._place = place
        self._asked_at: float | None = None
        self._told = ""  #: the kind that was named in this blockage
        self._blocked = metrics.counter("handlers_blocked", "Times a handler blocked the handlers' loop", ("kind",))

    def look(self) -> None:
        """Ask the loop, or see how long it has not answered; tell once per blockage."""
        if self._asked_at is None:
            self._asked_at = monotonic()
            self._place.ask(self._answer)
        elif not self._told and monotonic() - self._asked_at > _BLOCKED_S:
            self._tell(monotonic() - self._asked_at)

    def _answer(self) -> None:
        """Come back from the loop; called in its thread."""
        asked_at, told = self._asked_at, self._told
        self._asked_at, self._told = None, ""
        if told and asked_at is not None:
            log.warning("handlers_loop_free_again", kind=told, blocked_s=round(monotonic() - asked_at, 1))

    def _tell(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._place.thread_id)
        if frame is None:
            return
        self._told = kind_of(frame)
        self._blocked.labels(self._told).inc()
        stack = "".join(traceback.format_stack(frame)[-_FRAMES:])
        log.error("handlers_loop_blocked", kind=self._told, blocked_s=round(seconds, 1), exception=stack)


def kind_of(frame: FrameType | None) -> str:
    """Return the kind whose call stands on a stack; `?` for what a handler left running."""
    while frame is not None:
        if frame.f_code is Call.run_async.__code__:
            call = frame.f_locals["self"]
            return str(call.handler.kind)
        frame = frame.f_back
    return "?"
