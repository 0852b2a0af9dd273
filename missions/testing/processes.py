"""The stack as processes of this machine: an embedded broker, no Docker, some second to start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from contracts.subjects import DEFAULT_QUEUE
from missions.stack import Stack
from missions.testing.backend import TAIL_BYTES, Wanted, unbounded, unlinked
from missions.testing.link import Link
from missions.testing.portal import Portal
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
        self._services = wanted.service_names
        self._portal = Portal() if wanted.links else None
        self._links = {name: Link(self._portal, lambda: self._stack.nats_port) for name in wanted.links if self._portal}
        self._disks = {name: SmallDisk(self._folder / _KEPT_IN[name], mb) for name, mb in wanted.disks.items()}
        self.names = ["nats", *wanted.service_names]
        self.cuttable: Collection[str] = self._links
        self.bounded: Collection[str] = self._disks

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
        for name in self._links:
            if name not in self._services:
                raise unlinked(name, self._services)
        for link in self._links.values():
            link.start()
        for disk in self._disks.values():
            disk.mount()
        self._stack.nats_urls = {name: link.url for name, link in self._links.items()}
        self._stack.start()

    def stop(self) -> None:
        """End everything, and forget it."""
        try:
            self._stack.stop()
        finally:
            for disk in self._disks.values():
                disk.unmount()
            if self._portal:
                for link in self._links.values():
                    link.stop()
                self._portal.close()
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
        """Let nothing through between a service and the broker; raises `Unsupported` where nothing of ours is there."""
        self._link(name).cut()

    def heal(self, name: str) -> None:
        """Let everything through again, and wait until the service is ready."""
        self._link(name).join()
        self._stack.wait_ready(name)

    def fill_disk(self, name: str) -> None:
        """Leave no room on the disk of a part; raises `Unsupported` where nothing bounds it."""
        self._disk(name).fill()

    def free_disk(self, name: str) -> None:
        """Give the room back."""
        self._disk(name).free()

    def journal(self, into: Path) -> Path:
        """Return where the journal is."""
        return self._stack.journal.parent

    def _link(self, name: str) -> Link:
        if name not in self._links:
            raise unlinked(name, self._services)
        return self._links[name]

    def _disk(self, name: str) -> SmallDisk:
        if name not in self._disks:
            raise unbounded(name)
        return self._disks[name]
