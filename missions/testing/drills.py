"""Speaking to a stack, breaking its parts at a chosen moment, and checking what must hold all the same."""

from __future__ import annotations

import random
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from contracts import subjects, topology
from contracts.lifecycle import Status
from missions.client import EventFields
from missions.records import Record
from missions.testing import history
from missions.testing.backend import Backend, Unsupported
from missions.testing.chaos import Chaos, FaultKind, plan
from missions.testing.client import WAIT_S, MissionsClient
from missions.testing.seen import Seen
from services.runtime.incoming import Stored


class Drills(ABC):
    """What can be done with a running stack, beside asking where it is."""

    def __init__(self) -> None:
        self._hurt: dict[str, Callable[[str], None]] = {}  #: what is broken now, and what mends it
        self._full: set[str] = set()  #: whose disk is full now

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """The parts."""

    @property
    @abstractmethod
    def talk(self) -> MissionsClient:
        """The client that speaks to the stack's own executors."""

    @property
    def names(self) -> list[str]:
        """What its parts are called; those of others, on a broker that was joined, are not among them."""
        return self.backend.names

    def logs(self) -> dict[str, str]:
        """Return the end of what each part logged."""
        return {name: self.backend.log(name) for name in self.names}

    def say(self, text: str | None = None, **fields: Unpack[EventFields]) -> str:
        """Publish a chat event and return the id of its mission, once the broker has the event on disk."""
        return self.talk.say(text, **fields)

    def wait(self, mission_id: str, *statuses: Status | str, seconds: float = WAIT_S) -> Seen:
        """Return the mission once it is in one of these statuses; with none named: once it is over."""
        __tracebackhide__ = True
        return self.talk.wait(mission_id, *statuses, seconds=seconds)

    def run(self, text: str | None = None, *, seconds: float = WAIT_S, **fields: Unpack[EventFields]) -> Seen:
        """Say it, and return the mission when it is over, however it ended."""
        return self.talk.run(text, seconds=seconds, **fields)

    def mission(self, mission_id: str) -> Seen:
        """Return a mission as it stands; raises `NotFound`."""
        return self.talk.mission(mission_id)

    def records(self, mission_id: str) -> list[Record]:
        """Return the records of a mission so far, in the order of the stream."""
        return self.talk.records(mission_id)

    def cancel(self, mission_id: str, reason: str = "") -> None:
        """Ask for a mission to be cancelled; its outcome tells whether it was."""
        self.talk.cancel(mission_id, reason)

    def after_record(self, number: int, mission_id: str, seconds: float = WAIT_S) -> list[Record]:
        """Return when a mission has so many records, or is over: the moment at which a drill breaks something."""
        return self.talk.after_record(number, mission_id, seconds)

    def kill(self, name: str) -> None:
        """Crash a part by SIGKILL; it stays down until `restart`."""
        self.backend.kill(self._checked(name))
        self._hurt[name] = self.backend.restart

    def restart(self, name: str) -> None:
        """Start a part, after ending it in order if it runs, and wait until it is ready."""
        self.backend.restart(self._checked(name))
        self._hurt.pop(name, None)

    def pause(self, name: str) -> None:
        """Freeze a part: connections stay open and nothing answers."""
        self.backend.pause(self._checked(name))
        self._hurt[name] = self.backend.resume

    def resume(self, name: str) -> None:
        """Let a frozen part go on."""
        self.backend.resume(self._checked(name))
        self._hurt.pop(name, None)

    def partition(self, name: str) -> None:
        """Cut a part off from the others; raises `Unsupported` where the backend cannot."""
        self.backend.partition(self._checked(name))
        self._hurt[name] = self.backend.heal

    def heal(self, name: str) -> None:
        """Connect a part again, and wait until it is ready."""
        self.backend.heal(self._checked(name))
        self._hurt.pop(name, None)

    def fill_disk(self, name: str) -> None:
        """Leave no room on the disk of `nats` or `whiteboard`; raises `Unsupported` where no `with_disk` bounds it."""
        self.backend.fill_disk(self._checked(name))
        self._full.add(name)

    def free_disk(self, name: str) -> None:
        """Give the room back. The broker writes again only after `restart("nats")`; the whiteboard does by itself."""
        self.backend.free_disk(self._checked(name))
        self._full.discard(name)

    def mend(self) -> None:
        """Bring back all that was killed, frozen, cut off or filled, as the plugin does after each test."""
        for name in sorted(self._full):
            self.free_disk(name)
            if name == "nats":
                self._hurt[name] = self.backend.restart
        for name, cure in list(self._hurt.items()):
            cure(name)
            self._hurt.pop(name, None)

    def _checked(self, name: str) -> str:
        if name not in self.names:
            raise Unsupported(f"{name} is no part of this stack, which has: {', '.join(self.names)}")
        return name

    def chaos(
        self,
        seed: int | None = None,
        *,
        victims: Sequence[str] = (),
        faults: Sequence[FaultKind] = ("kill", "pause", "restart"),
        rounds: int = 5,
    ) -> Chaos:
        """Break parts at random while a block runs; what is planned is printed, and `seed` has it again.

        `partition` and `fill_disk` are done only when they are named, to those of the victims that bear them.
        """
        seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
        named = tuple(map(self._checked, victims)) or tuple(self.names)
        return Chaos(self, seed, plan(seed, {fault: self._bearing(fault, named) for fault in faults}, rounds))

    def _bearing(self, fault: FaultKind, names: Sequence[str]) -> list[str]:
        """Return those that a fault can be done to; raises `Unsupported` where there is none."""
        limited = {"partition": (self.backend.cuttable, "with_link"), "fill_disk": (self.backend.bounded, "with_disk")}
        able, how = limited.get(fault, (names, ""))
        found = [name for name in names if name in able]
        if not found:
            raise Unsupported(f"no {fault} for {', '.join(names)}: ask for it before the start, {how}(…)")
        return found

    def stored(self) -> list[Stored]:
        """Return every record as the broker holds it; on a broker that was joined: those of the stack's own queue."""
        records = self.talk.stream(topology.MISSIONS)
        if self.backend.owns_broker:
            return records
        return [record for record in records if subjects.parse_record(record.subject).queue == self.backend.queue]

    def assert_legal_history(self) -> None:
        """Check that every mission took only steps that its lifecycle allows, each by its owner of the time."""
        with self.talk.explained():
            history.assert_legal_history(self.stored())

    def assert_one_outcome(self) -> None:
        """Check that every mission has ended, exactly once, and that nothing follows its outcome."""
        with self.talk.explained():
            history.assert_one_outcome(self.stored())

    def assert_journal_equals_stream(self, seconds: float = WAIT_S) -> None:
        """Wait until the whiteboard has caught up, then check that its journal is the stream, byte for byte."""
        if not self.backend.owns_broker:
            raise Unsupported("the journal of a deployment that was joined is not at hand: use another backend")
        with self.talk.explained(), tempfile.TemporaryDirectory(prefix="missions-") as folder:
            self.talk.until_journalled(seconds)
            history.assert_journal_equals_stream(self.backend.journal(Path(folder)), self.stored())
