"""Where the parts of a stack run: as processes, in containers, or at a broker that somebody else runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from contracts.errors import SetupError

BackendName = Literal["process", "containers", "attach"]

#: What differs from production, so that a test need not wait for it: who dies is replaced soon.
QUICK = {"MISSIONS_LEASE_S": "2", "MISSIONS_STOP_GRACE_S": "0.5", "MISSIONS_LOG_FORMAT": "json"}
READY_WITHIN_S = 60.0
TAIL_BYTES = 32_768
#: Whose disk can be bounded, and so filled: the parts that keep something.
KEEPERS = ("nats", "whiteboard")
BALLAST = "ballast"  #: the file that fills a disk


class Unsupported(SetupError):
    """This backend cannot do that."""


@dataclass(frozen=True)
class Wanted:
    """What a stack is asked to be; an `env` value of None takes a variable away."""

    goals: tuple[str, ...] = ()
    executors: int = 1
    env: Mapping[str, str | None] = field(default_factory=dict)
    disks: Mapping[str, int] = field(default_factory=dict)  #: whose disk is bounded, and to how many MiB
    links: frozenset[str] = frozenset()  #: who can be cut off from the broker, where that must be known before

    @property
    def environment(self) -> dict[str, str | None]:
        """What the services are told beside their addresses."""
        return {**QUICK, **self.env}

    @property
    def service_names(self) -> list[str]:
        """What the parts beside the broker are called."""
        return ["orchestrator", "whiteboard", *self.executor_names]

    @property
    def executor_names(self) -> list[str]:
        """What the executors are called."""
        return ["executor", *(f"executor-{number}" for number in range(2, self.executors + 1))]


class Backend(Protocol):
    """The parts of one stack, by name: `nats`, `orchestrator`, `whiteboard`, `executor`, `executor-2`, …."""

    #: Where its executors listen.
    queue: str
    #: Which of its parts can be cut off now, and whose disk can be filled.
    cuttable: Collection[str]
    bounded: Collection[str]
    #: Whether the broker is this stack's own, so that nobody else is hurt by what is done to it.
    owns_broker: bool

    @property
    def names(self) -> list[str]: ...
    @property
    def nats_url(self) -> str: ...
    @property
    def whiteboard_url(self) -> str | None: ...
    @property
    def orchestrator_url(self) -> str | None: ...
    def start(self) -> None:
        """Start all and wait; raises `SetupError`, and leaves it to `stop` to end what did start."""

    def stop(self) -> None: ...
    def log(self, name: str) -> str: ...
    def kill(self, name: str) -> None: ...
    def restart(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...
    def partition(self, name: str) -> None: ...
    def heal(self, name: str) -> None: ...
    def fill_disk(self, name: str) -> None: ...
    def free_disk(self, name: str) -> None: ...
    def journal(self, into: Path) -> Path:
        """Return a folder with the whiteboard's journal, copied into `into` where it is not on this machine."""


def unlinked(name: str, services: Collection[str]) -> Unsupported:
    """Return why a process cannot be cut off: nothing of ours is between it and the broker."""
    if name not in services:
        return Unsupported(f"with_link(…) knows {', '.join(services)}: {name} as a process can be paused, not cut off")
    return Unsupported(f'nothing can cut {name} off from the broker: ask for it before the start, with_link("{name}")')


def unbounded(name: str) -> Unsupported:
    """Return why a disk cannot be filled: what bounds it is the machine."""
    if name not in KEEPERS:
        return Unsupported(f"{name} keeps nothing on a disk; {' and '.join(KEEPERS)} do")
    return Unsupported(f'nothing bounds the disk of {name}: ask for it before the start, with_disk("{name}")')
