"""The contract of a goal: what every handler must bear, tried on yours with a real executor and a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from contracts.lifecycle import Status
from missions.testing.client import MissionsClient
from missions.testing.probe import Probe
from missions.testing.seen import Seen
from missions.testing.stack import MissionStack
from services.executor.result import encoded

#: A try that is to be late gets half of what it needs, within these bounds.
_SHORTEST_S, _LONGEST_S = 0.02, 0.2
_ONCE = {"max_attempts": 1}
_TWICE = {"max_attempts": 2, "backoff_s": 0.01}

#: Counts what a handler did to the world: rows, files, calls of a double.
Effects = Callable[[], int]


class GoalReport(Struct, frozen=True, kw_only=True):
    """What was seen of a handler that keeps the contract; each text is one sentence."""

    kind: str
    result: Any
    seconds: float
    redelivery: str
    progress: str
    timeout: str
    cancel: str


def check_goal(  # noqa: PLR0913 - what may differ from handler to handler, each by its name
    handler: Callable[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    on: MissionStack | None = None,
    effects: Effects | None = None,
    same_result: bool = True,
    seconds: float = 10.0,
    stop_within: float = 1.0,
) -> GoalReport:
    """Take a handler marked with `@goal` through what every handler meets; raise `AssertionError` at the first fault.

    - **encoding**: it completes, and its result is JSON within the limits of a record.
    - **redelivery**: its result is lost, as if its owner had died then, and it runs again: with the same result, unless
      `same_result` is false, and where `effects` counts them, with the effects of one run.
    - **progress**: what it reports never goes back, nor beyond its total.
    - **timeout** and **cancel**: told to stop in the middle, it is over `stop_within` seconds later.

    It runs four times with the same `params`, in this process, for at most `seconds` each. Without a stack to run `on`,
    one is started for it.
    """
    if on is None:
        with MissionStack() as stack:
            options: dict[str, Any] = {"effects": effects, "same_result": same_result, "seconds": seconds}
            return check_goal(handler, params, on=stack, stop_within=stop_within, **options)
    with on.conversation(goals=False) as talk:
        trial = _Trial(Probe(handler), talk, dict(params or {}), effects or (lambda: 0), (seconds, stop_within))
        talk.serve(trial.probe.handler)
        began = time.monotonic()
        completed = trial.completes()
        took = time.monotonic() - began
        return GoalReport(
            kind=trial.probe.kind,
            result=completed.result,
            seconds=took,
            progress=trial.reports_progress(),
            redelivery=trial.bears_redelivery(same_result=same_result),
            timeout=trial.stops_when_late(min(max(took / 2, _SHORTEST_S), _LONGEST_S)),
            cancel=trial.stops_when_cancelled(),
        )


class _Trial:
    """One handler and one set of params, run again and again."""

    def __init__(
        self, probe: Probe, talk: MissionsClient, params: dict[str, Any], effects: Effects, limits: tuple[float, float]
    ) -> None:
        self.probe = probe
        self._talk = talk
        self._params = params
        self._effects = effects
        self._seconds, self._stop_within = limits
        self._of_one_run = 0

    def completes(self) -> Seen:
        """Run it once, undisturbed."""
        before = self._effects()
        completed = self._talk.wait(self._begin(_ONCE), Status.COMPLETED, seconds=self._seconds)
        self._of_one_run = self._effects() - before
        return completed

    def reports_progress(self) -> str:
        """Look at what that run reported."""
        reported = self.probe.progress
        for (before, _), (done, total) in zip([(0.0, None), *reported], reported, strict=False):
            assert done >= before, f"{self.probe.kind}: progress goes back from {before:g} to {done:g}"
            assert total is None or done <= total, f"{self.probe.kind}: progress of {done:g} is over {total:g}"
        return f"reported {len(reported)} times" if reported else "reports none"

    def bears_redelivery(self, *, same_result: bool) -> str:
        """Lose what it returned, so that it runs again."""
        self.probe.loses_results, before = 1, self._effects()
        mission_id = self._begin(_TWICE)
        self._talk.wait(mission_id, Status.COMPLETED, seconds=self._seconds)
        effects = self._effects() - before
        assert effects == self._of_one_run, (
            f"{self.probe.kind}: run again it had {effects} effects, {self._of_one_run} in one run: "
            "hand ctx.idempotency_key to whatever must not happen twice"
        )
        first, second = map(_plain, self.probe.results)
        assert first == second or not same_result, (
            f"{self.probe.kind}: run again it returned {second!r}, after {first!r}: it may run twice, "
            "so keep its result under ctx.idempotency_key, or say same_result=False"
        )
        return "ran twice with one result" if first == second else "ran twice with two results"

    def stops_when_late(self, timeout_s: float) -> str:
        """Give it less time than it needs."""
        mission_id = self._begin(_ONCE, timeout_s=timeout_s)
        self.probe.await_begin(self._seconds)
        return self._stopped(mission_id, self.probe.begun_at + timeout_s, "its time was over")

    def stops_when_cancelled(self) -> str:
        """Cancel it while it runs."""
        mission_id = self._begin(_ONCE)
        self.probe.await_begin(self._seconds)
        self._talk.cancel(mission_id)
        return self._stopped(mission_id, time.monotonic(), "it was cancelled")

    def _stopped(self, mission_id: str, told_at: float, because: str) -> str:
        """Wait for the outcome, which may wait for the handler, and look at when the handler was over."""
        outcome = self._talk.wait(mission_id, seconds=self._seconds)
        until = told_at + self._stop_within
        in_time = self.probe.await_end(max(0.0, until - time.monotonic())) and self.probe.ended_at <= until
        assert in_time, (
            f"{self.probe.kind}: still runs {self._stop_within:g} s after {because}: let it look at ctx.cancelled "
            "now and then, or make it async"
        )
        return "was over before that" if outcome.status is Status.COMPLETED else f"stopped: {outcome.reason}"

    def _begin(self, retry: Mapping[str, Any], **options: Any) -> str:
        self.probe.clear()
        return self._talk.say(goals=[{"kind": self.probe.kind, "params": self._params, "retry": retry, **options}])


def _plain(result: Any) -> Any:
    """Return a result as readers see it."""
    return msgspec.json.decode(encoded(result))
