"""Faults at random, and the same ones again: a seed is a plan, and the plan is printed."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

FaultKind = Literal["kill", "pause", "restart", "partition", "fill_disk"]

_AFTER_S = (0.1, 0.8)
_DOWN_S = (0.1, 1.0)


class Victims(Protocol):
    """The parts of a stack, by name."""

    def kill(self, name: str) -> None: ...
    def restart(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...
    def partition(self, name: str) -> None: ...
    def heal(self, name: str) -> None: ...
    def fill_disk(self, name: str) -> None: ...
    def free_disk(self, name: str) -> None: ...


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, so long after the one before, and for so long."""

    kind: FaultKind
    victim: str
    after_s: float
    down_s: float

    def __str__(self) -> str:
        """Say what is done."""
        for_s = "" if self.kind == "restart" else f" for {self.down_s:.2f} s"
        return f"after {self.after_s:.2f} s {self.kind} {self.victim}{for_s}"


def plan(seed: int, victims: Mapping[FaultKind, Sequence[str]], rounds: int) -> tuple[Fault, ...]:
    """Return the faults that a seed stands for; the same for the same arguments, on every machine."""
    chance = random.Random(seed)  # noqa: S311 - it must repeat
    return tuple(_drawn(chance, victims) for _ in range(rounds))


def _drawn(chance: random.Random, victims: Mapping[FaultKind, Sequence[str]]) -> Fault:
    kind = chance.choice(list(victims))
    return Fault(kind, chance.choice(victims[kind]), chance.uniform(*_AFTER_S), chance.uniform(*_DOWN_S))


_Act = Callable[[Victims, str], None]
#: What breaks a part, and what mends it.
_DONE_BY: Mapping[FaultKind, tuple[_Act, _Act | None]] = {
    "kill": (lambda parts, name: parts.kill(name), lambda parts, name: parts.restart(name)),
    "pause": (lambda parts, name: parts.pause(name), lambda parts, name: parts.resume(name)),
    "restart": (lambda parts, name: parts.restart(name), None),
    "partition": (lambda parts, name: parts.partition(name), lambda parts, name: parts.heal(name)),
    "fill_disk": (lambda parts, name: parts.fill_disk(name), lambda parts, name: parts.free_disk(name)),
}


class Chaos:
    """Breaks parts one after the other while the block runs, and leaves all of them whole.

    The end of the block waits for the fault that is under way, and no longer; `finish` waits for the whole plan.
    """

    def __init__(self, victims: Victims, seed: int, faults: tuple[Fault, ...]) -> None:
        self.seed = seed
        self.plan = faults
        self.done: list[Fault] = []
        self._victims = victims
        self._enough = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"chaos {seed}", daemon=True)

    def __enter__(self) -> Self:
        sys.stderr.write(f"{self}\n")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._enough.set()
        self._thread.join()
        if error is not None:
            error.add_note(f"-- missions: {len(self.done)} faults of {self}")
        elif self._failure is not None:
            raise self._failure

    def __str__(self) -> str:
        """Say what is planned, and how to have it again."""
        return f"chaos(seed={self.seed}): {'; '.join(map(str, self.plan))}"

    def finish(self) -> None:
        """Wait until every fault has happened and is over; raises what kept a part from coming back."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for fault in self.plan:
                if self._enough.wait(fault.after_s):
                    return
                self._commit(fault)
                self.done.append(fault)
        except BaseException as error:  # noqa: BLE001 - raised again where the block ends
            self._failure = error

    def _commit(self, fault: Fault) -> None:
        """Break a part, and mend it after a while; a restart is over when it has happened."""
        breaks, mends = _DONE_BY[fault.kind]
        breaks(self._victims, fault.victim)
        if mends is not None:
            self._enough.wait(fault.down_s)
            mends(self._victims, fault.victim)
        if fault.kind == "fill_disk" and fault.victim == "nats":
            self._victims.restart(fault.victim)  # it writes no more before
