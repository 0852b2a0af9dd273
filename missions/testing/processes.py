"""The stack as processes of this machine: an embedded broker, no Docker, some second to start."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from contracts.subjects import DEFAULT_QUEUE
from missions.stack import Stack
from missions.testing.backend import TAIL_BYTES, Unsupported, Wanted, unbounded
from missions.testing.small_disk import SmallDisk

#: What is on the bounded disk of a part, below the stack's directory; the whiteboard's index stays beside it.
_KEPT_IN = {"nats": "nats", "whiteboard": "journal"}


class Processes:
    """A `missions.stack.Stack` in a directory of its own, which goes with it."""

    queue = DEFAULT_QUEUE
    owns_broker = True

    def __init__(self, wanted: Wanted) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="missions-"))
        self._stack = Stack(
            self._folder,
            goals=wanted.goals,
            executors=wanted.executors,
            env=wanted.environment,
            on_event=lambda *_, **__: None,  # a fault that a test ordered is no news
        )
        self._disks = {name: SmallDisk(self._folder / _KEPT_IN[name], mb) for name, mb in wanted.disks.items()}
        self.names = ["nats", "orchestrator", "whiteboard", *wanted.executor_names]

    @property
    def nats_url(self) -> str:
        """Where NATS clients connect."""
        return self._stack.nats_url

    @property
    def whiteboard_url(self) -> str | None:
        """Where missions are asked for."""
        return self._stack.whiteboard_url

    @property
    def orchestrator_url(self) -> str | None:
        """Where chat events are posted."""
        return self._stack.orchestrator_url

    def start(self) -> None:
        """Start everything and return when every service is ready; raises `SetupError`."""
        for disk in self._disks.values():
            disk.mount()
        self._stack.start()

    def stop(self) -> None:
        """End everything, and forget it."""
        try:
            self._stack.stop()
        finally:
            for disk in self._disks.values():
                disk.unmount()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self, name: str) -> str:
        """Return the end of what a process logged."""
        with suppress(OSError):
            return self._stack.log_file(name).read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""

    def kill(self, name: str) -> None:
        """Crash a process by SIGKILL; it stays down until `restart`."""
        self._stack.kill(name, stay_down=True)

    def restart(self, name: str) -> None:
        """Start a process, after ending it in order if it runs, and wait until it is ready."""
        self._stack.restart(name)

    def pause(self, name: str) -> None:
        """Freeze a process by SIGSTOP."""
        self._stack.pause(name)

    def resume(self, name: str) -> None:
        """Let a frozen process go on."""
        self._stack.resume(name)

    def partition(self, name: str) -> None:
        """Refuse: processes share the loopback."""
        raise Unsupported(f"processes cannot be cut off: use the backend containers, or pause {name}")

    def heal(self, name: str) -> None:
        """Do nothing: nothing was cut off."""

    def fill_disk(self, name: str) -> None:
        """Leave no room on the disk of a part; raises `Unsupported` where nothing bounds it."""
        self._disk(name).fill()

    def free_disk(self, name: str) -> None:
        """Give the room back."""
        self._disk(name).free()

    def journal(self, into: Path) -> Path:
        """Return where the journal is."""
        return self._stack.journal.parent

    def _disk(self, name: str) -> SmallDisk:
        if name not in self._disks:
            raise unbounded(name)
        return self._disks[name]
