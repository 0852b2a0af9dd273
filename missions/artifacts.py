"""Artifacts as a client fetches them: from the broker's object store or over HTTP, verified either way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from contracts import artifacts
from contracts.errors import ArtifactDamaged, ContractError, NotFound
from contracts.messages import Artifact
from missions.whiteboard import Whiteboard
from services.runtime.bus import Bus
from services.runtime.objects import Objects

Opened = AbstractAsyncContextManager[AsyncIterator[bytes]]


class StoredArtifact(msgspec.Struct, frozen=True):
    """An artifact of a goal: what its record says about it, and the way to its bytes."""

    goal: str
    artifact: Artifact
    open: Callable[[], Opened]

    async def blocks(self) -> AsyncGenerator[bytes]:
        """Yield its bytes, a block at a time; raises `ArtifactDamaged` at the end of what is not what was stored."""
        digest, size = hashlib.sha256(), 0
        async with self.open() as blocks:
            async for block in blocks:
                digest.update(block)
                size += len(block)
                yield block
        if (size, digest.hexdigest()) != (self.artifact.size_bytes, self.artifact.sha256):
            raise ArtifactDamaged(f"what came of {self.artifact.name} is not what its record names: fetch it again")

    async def read(self) -> bytes:
        """Return all of it, verified; for what fits into memory."""
        return b"".join([block async for block in self.blocks()])

    async def save(self, path: Path) -> None:
        """Write it to a file, which is there only once all of it is, verified."""
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with await asyncio.to_thread(part.open, "xb") as file:
                async for block in self.blocks():
                    await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(os.replace, part, path)
        finally:
            part.unlink(missing_ok=True)


async def over_http(board: Whiteboard, mission_id: str) -> list[StoredArtifact]:
    """Return the artifacts of a mission as the whiteboard lists them."""
    return [
        StoredArtifact(item["goal"], _artifact(item), lambda url=item["url"]: board.artifact(url))  # type: ignore[misc]
        for item in await board.artifacts(mission_id)
    ]


def on_broker(bus: Bus, mission: Mapping[str, Any]) -> list[StoredArtifact]:
    """Return the artifacts of a mission, as its records on the broker tell it."""
    objects = Objects(bus)
    found = []
    for goal in mission["goals"]:
        result = artifacts.claimed(goal.get("result"))
        for artifact in [*map(_artifact, goal.get("artifacts", ())), *([result] if result else [])]:
            name = artifacts.object_name(mission["mission_id"], goal["id"], artifact)
            found.append(StoredArtifact(goal["id"], artifact, lambda name=name: _read(objects, name)))  # type: ignore[misc]
    return found


def pick(found: list[StoredArtifact], name: str, goal: str | None) -> StoredArtifact:
    """Return the one that is meant; raises `NotFound`, or `ContractError` where several goals kept that name."""
    matching = [item for item in found if item.artifact.name == name and goal in {None, item.goal}]
    if not matching:
        names = ", ".join(f"{item.goal}/{item.artifact.name}" for item in found) or "none"
        raise NotFound(f"no artifact {name!r}{f' of goal {goal}' if goal else ''} is known; there are: {names}")
    if len(matching) > 1:
        raise ContractError(f"the goals {', '.join(item.goal for item in matching)} kept {name!r}: say which")
    return matching[0]


@asynccontextmanager
async def _read(objects: Objects, name: artifacts.ObjectName) -> AsyncIterator[AsyncIterator[bytes]]:
    chunks = objects.read(await objects.find(name))
    try:
        yield chunks
    finally:
        await chunks.aclose()


def _artifact(item: Mapping[str, Any]) -> Artifact:
    return msgspec.convert({name: item[name] for name in Artifact.__struct_fields__ if name in item}, Artifact)
