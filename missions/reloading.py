"""Takes a change of goals into a running stack: `missions up --reload`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from contracts.errors import MissionsError, SetupError
from missions import goal_files

_POLL_S = 0.25

Snapshot = Mapping[Path, tuple[int, int]]


class Restartable(Protocol):
    """What is restarted: a `Stack`."""

    @property
    def executors(self) -> Sequence[str]: ...
    def restart(self, name: str) -> None: ...


class Reloading:
    """Watches the files of goals in a thread; when they change, and load, the executors start again one by one.

    Each is ended in order: what it runs is handed back and goes on in its next life. Goals that do not load change
    nothing: `say` hears why, the executors go on as they were, and the next change is looked at.
    """

    def __init__(self, stack: Restartable, goals: Sequence[str], say: Callable[[str], None]) -> None:
        self._stack = stack
        self._goals = tuple(goals)
        self._say = say
        self._looked, self._begun, self._over = threading.Event(), threading.Event(), threading.Event()
        self._known: dict[str, Any] = {}
        self._files = goal_files.places(goals)
        self._seen = snapshot(self._files)
        self._read_at = time.time_ns()  #: the executors read what was there then, or later
        self._thread = threading.Thread(target=self._watch, name="reloading", daemon=True)

    def start(self) -> None:
        """Look at the goals as they are now, beside whatever else is started."""
        self._thread.start()

    def begin(self) -> None:
        """Take changes from now on: the executors are there. Returns once it is known what they have loaded."""
        self._looked.wait()
        self._begun.set()

    def stop(self) -> None:
        """Watch no longer; a restart that is on its way is left to the end of the stack."""
        self._over.set()
        self._begun.set()

    def _take(self, found: Mapping[str, Any]) -> None:
        """Keep what is known of the goals, and which files they came from."""
        self._known = {item["kind"]: item for item in found["items"]}
        self._files = goal_files.places(self._goals) | {Path(file) for file in found["files"]}
        for path, mark in snapshot(self._files).items():
            if path not in self._seen and mark[0] < self._read_at:  # a later one is a change that is yet to be taken
                self._seen = {**self._seen, path: mark}

    def _watch(self) -> None:
        try:
            with suppress(SetupError):  # the executors say the same
                self._take(goal_files.described_afresh(self._goals))
        finally:
            self._looked.set()
        self._begun.wait()
        while not self._over.wait(_POLL_S):
            now = snapshot(self._files)
            if now == self._seen:
                continue
            while not self._over.wait(_POLL_S) and (later := snapshot(self._files)) != now:
                now = later  # until the saving is over
            changed = sorted({path.name for path, _ in set(self._seen.items()) ^ set(now.items())})
            self._seen, self._read_at = now, time.time_ns()
            self._reload(", ".join(changed))

    def _reload(self, changed: str) -> None:
        try:
            found = goal_files.described_afresh(self._goals)
        except SetupError as error:
            self._tell(f"{changed} is not taken, the executors go on as they were:\n{error}")
            return
        before = self._known
        self._take(found)
        try:
            for name in self._stack.executors:
                self._stack.restart(name)
        except MissionsError as error:
            self._tell(f"{changed} loads, but its executor does not start: {error}")
            return
        self._tell(f"reloaded {changed}: {difference(before, self._known)}")

    def _tell(self, text: str) -> None:
        if not self._over.is_set():
            self._say(text)


def snapshot(places: Iterable[Path]) -> Snapshot:
    """Return when each Python file was written last, and its size; one that is gone is not there."""
    found = {}
    for place in places:
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            try:
                stat = path.stat()
            except OSError:
                continue
            found[path.resolve()] = (stat.st_mtime_ns, stat.st_size)
    return found


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which kinds came, changed and went."""
    parts = {
        "new": now.keys() - before.keys(),
        "changed": {kind for kind in now.keys() & before.keys() if now[kind] != before[kind]},
        "gone": before.keys() - now.keys(),
    }
    said = [f"{word} {', '.join(sorted(kinds))}" for word, kinds in parts.items() if kinds]
    return "; ".join(said) or "the same kinds"
