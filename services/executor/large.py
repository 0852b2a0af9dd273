"""Results too large for a record: kept in the object store, with a claim check in their place."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from contracts import artifacts
from contracts.messages import Goal, Mission
from services.runtime import objects
from services.runtime.objects import Objects


async def inline(data: bytes, mission: Mission, goal: Goal, store: Objects) -> Raw:
    """Return what a record carries for this result: itself, or the claim check of what is stored for it.

    Raises as `Objects.put` does.
    """
    if len(data) <= artifacts.INLINE_RESULT_BYTES:
        return Raw(data)
    artifact = objects.artifact_of(data, artifacts.RESULT, artifacts.JSON)
    await store.put(artifacts.object_name(mission.mission_id, goal.id, artifact), artifact, data)
    return Raw(artifacts.claim_check(artifact))


async def resolved(result: Any, mission_id: str, goal_id: str, store: Objects) -> Any:
    """Return the result of a goal itself, fetched and verified where what is given is its claim check.

    `result` is as a record has it, decoded or `Raw`. Raises `Gone`, `ArtifactDamaged`, `MaybeStored`.
    """
    artifact = artifacts.claimed(result)
    if artifact is None:
        return msgspec.json.decode(result) if isinstance(result, Raw) else result
    meta = await store.find(artifacts.object_name(mission_id, goal_id, artifact))
    return msgspec.json.decode(await objects.whole(store.read(meta)))
