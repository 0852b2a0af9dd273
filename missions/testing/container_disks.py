"""Disks of bounded size for containers: tmpfs volumes, and a container that keeps them while a part is down."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

from contracts.errors import SetupError
from missions.testing.backend import BALLAST, unbounded

_KEPT_S = 24 * 3600
_NO_ROOM = "No space left on device"


class Disks:
    """The bounded disks of a stack, by the name of the part.

    A tmpfs is forgotten when the last container that has it ends, so one that only sleeps has all of them; it also
    fills and frees them, whether or not their part runs.
    """

    def __init__(self, image: str, sizes_mb: Mapping[str, int]) -> None:
        self._sizes_mb = sizes_mb
        self._holder = DockerContainer(image).with_kwargs(entrypoint=["sleep", str(_KEPT_S)])
        self._volumes: dict[str, Any] = {}

    def start(self) -> None:
        """Make the disks; nothing happens where none was asked for."""
        for name, mb in self._sizes_mb.items():
            self._volumes[name] = self._engine.volumes.create(
                driver_opts={"type": "tmpfs", "device": "tmpfs", "o": f"size={mb}m,mode=1777"},
                labels={LABEL_SESSION_ID: SESSION_ID},
            )
            self._holder.with_volume_mapping(self._volumes[name].name, f"/{name}", "rw")
        if self._volumes:
            self._holder.start()

    def join(self, name: str, container: DockerContainer, folder: str) -> None:
        """Give a container its disk, where it has one."""
        if name in self._volumes:
            container.with_volume_mapping(self._volumes[name].name, folder, "rw")

    def fill(self, name: str) -> None:
        """Write until there is no room."""
        said = self._shell(name, f"cat /dev/zero >>/{name}/{BALLAST}")
        if _NO_ROOM not in said:
            raise SetupError(f"the disk of {name} was not filled: {said}")

    def free(self, name: str) -> None:
        """Give the room back."""
        self._shell(name, f"rm -f /{name}/{BALLAST}")

    def remove(self) -> None:
        """Take the disks away, after the containers that have them."""
        if self._volumes:
            with suppress(DockerException):
                self._holder.stop()
            for volume in self._volumes.values():
                with suppress(DockerException):
                    volume.remove()
            self._volumes.clear()

    def _shell(self, name: str, command: str) -> str:
        if name not in self._volumes:
            raise unbounded(name)
        _, said = self._holder.get_wrapped_container().exec_run(["sh", "-c", command])
        return str(said.decode(errors="replace")).strip()

    @property
    def _engine(self) -> Any:
        return self._holder.get_docker_client().client
