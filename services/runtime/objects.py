"""The object store: artifacts in the layout of the NATS object store (ADR-20), so that `nats object get` reads them.

An object is chunks on a subject of its own, and then one message that says what they are: the object is there once that
message is, and whole. nats-py's own store reads by push consumers, which do not survive here, and keeps all in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from contracts import artifacts, headers, subjects, topology
from contracts.artifacts import ObjectName
from contracts.errors import ArtifactDamaged, Gone, MaybeStored, StreamFull
from contracts.messages import Artifact
from services.runtime import refusals
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Stored
from services.runtime.object_meta import Meta, Options, digest_of, meta_of

log = structlog.get_logger()

CHUNK_BYTES = 128 * 1024
#: Chunks of one upload that wait for their acknowledgement, and uploads side by side: what they hold in memory.
_IN_FLIGHT = 8
_SIDE_BY_SIDE = 4
_AGAIN_S = 0.5
#: How long an upload starts again and again while the broker is away; a denied publish looks the same, so it ends.
PATIENCE_S = 120.0
READ_PATIENCE_S = 15.0
#: A chunk takes its time on a slow line.
_CHUNK_S = 10.0


class Objects:
    """Puts artifacts into the object store and reads them back, a chunk at a time. Made on the loop that uses it."""

    def __init__(self, bus: Bus, patience_s: float = PATIENCE_S) -> None:
        self._bus = bus
        self._patience_s = patience_s
        self._turns = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def put(self, name: ObjectName, artifact: Artifact, source: Path | bytes) -> None:
        """Keep `source` under this name, unless it is there already; returns once it is stored whole.

        Starts again while the broker is away. Raises `StreamFull`, `ArtifactDamaged` where the source is not what the
        artifact says, `MaybeStored` when the patience ends, and `ContractError` for what the broker refuses for good.
        """
        async with self._turns:
            until = asyncio.get_running_loop().time() + self._patience_s
            while True:
                try:
                    await self._put_once(name, artifact, source)
                except MaybeStored as error:
                    if asyncio.get_running_loop().time() > until:
                        raise
                    log.warning("upload_starts_again", object=str(name), error=str(error))
                    await asyncio.sleep(_AGAIN_S)
                else:
                    return

    async def find(self, name: ObjectName) -> Meta:
        """Return what is known about an object, as the leader has it; raises `Gone`."""
        meta = await self._meta(name)
        if meta is None:
            raise Gone(f"artifact {name.name!r} of goal {name.goal_id} of mission {name.mission_id} was removed")
        return meta

    async def read(self, meta: Meta) -> AsyncGenerator[bytes]:
        """Yield the chunks of an object. The last one comes only when all of it is what was stored.

        Raises `ArtifactDamaged`, `Gone` when it is removed meanwhile, `MaybeStored` when the broker does not answer.
        """
        subject = subjects.artifact_chunks(meta.nuid)
        digest, size, seq, held = hashlib.sha256(), 0, 1, b""
        for number in range(meta.chunks):
            found = await self._chunk(subject, seq)
            if found is None:
                raise Gone(f"{meta.name} was removed while it was read")
            seq, data = found.seq + 1, found.data
            size += len(data)
            digest.update(data)
            if number:
                yield held
            held = data
        if (size, digest.hexdigest()) != (meta.size, meta.sha256):
            raise ArtifactDamaged(f"{meta.name} has {size} bytes that are not those which were stored")
        if held:
            yield held

    async def _chunk(self, subject: str, seq: int) -> Stored | None:
        """Return the next chunk from a sequence on; waits a while for a broker that starts again."""
        until = asyncio.get_running_loop().time() + READ_PATIENCE_S
        while True:
            try:
                return await self._bus.direct_next(topology.ARTIFACTS, subject, seq)
            except MaybeStored:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def _put_once(self, name: ObjectName, artifact: Artifact, source: Path | bytes) -> None:
        try:
            if await self._meta(name) is None:
                upload = _Upload(self._bus, name, artifact)
                await upload.send(source)
                await upload.finish()
        except ApiError as refusal:
            raise _error_of(name, refusal) from refusal

    async def _meta(self, name: ObjectName) -> Meta | None:
        stored = await self._bus.head(topology.ARTIFACTS, subjects.artifact_meta(str(name)))
        return meta_of(stored) if stored else None


class _Upload:
    """One go at storing one object: chunks on a subject that nothing else uses. A go that fails leaves them unnamed."""

    def __init__(self, bus: Bus, name: ObjectName, artifact: Artifact) -> None:
        self._bus = bus
        self._name = name
        self._artifact = artifact
        self._nuid = secrets.token_hex(11)
        self._digest = hashlib.sha256()
        self._size = self._chunks = self._last_seq = 0

    async def send(self, source: Path | bytes) -> None:
        """Store all chunks, some at a time; raises `MaybeStored` when the broker does not say that it has them all."""
        if isinstance(source, bytes):
            for start in range(0, len(source), _IN_FLIGHT * CHUNK_BYTES):
                await self._store(source[start : start + _IN_FLIGHT * CHUNK_BYTES])
            return
        with await asyncio.to_thread(source.open, "rb") as file:
            while block := await asyncio.to_thread(_read_block, file):
                await self._store(block)

    async def _store(self, block: bytes) -> None:
        self._digest.update(block)
        self._size += len(block)
        subject = subjects.artifact_chunks(self._nuid)
        chunks = [block[start : start + CHUNK_BYTES] for start in range(0, len(block), CHUNK_BYTES)]
        answers = await asyncio.gather(
            *(self._bus.publish_acked(subject, chunk, seconds=_CHUNK_S) for chunk in chunks), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer.stream != topology.ARTIFACTS or answer.seq <= self._last_seq:
                raise MaybeStored(f"the chunks of {self._name} are not in order")
            self._last_seq = answer.seq
        self._chunks += len(chunks)

    async def finish(self) -> None:
        """Say what the chunks are, and so make them an object; a repeat of the same object is no second one."""
        if (self._size, self._digest.hexdigest()) != (self._artifact.size_bytes, self._artifact.sha256):
            raise ArtifactDamaged(f"{self._name.name} was changed while it was stored")
        meta = Meta(
            name=str(self._name),
            nuid=self._nuid,
            size=self._size,
            chunks=self._chunks,
            digest=digest_of(self._digest.digest()),
            mtime=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            headers={"Content-Type": [self._artifact.media_type]},
            options=Options(max_chunk_size=CHUNK_BYTES),
        )
        first = {headers.EXPECTED_LAST_SUBJECT_SEQ: "0"}
        try:
            await self._bus.publish_acked(
                subjects.artifact_meta(str(self._name)), msgspec.json.encode(meta), headers=first
            )
        except ApiError as refusal:
            if refusal.err_code not in refusals.WRONG_LAST_SEQ:
                raise


def _read_block(file: BinaryIO) -> bytes:
    return file.read(_IN_FLIGHT * CHUNK_BYTES)


def _error_of(name: ObjectName, refusal: ApiError) -> Exception:
    """Say what a refusal means for an upload."""
    if refusal.err_code == refusals.STREAM_FULL:
        hint = "remove old missions (missions prune) or raise its max_bytes"
        return StreamFull(f"no room for {name.name} in {topology.ARTIFACTS}: {hint}")
    return refusals.error_of(str(name), refusal)


async def whole(parts: AsyncGenerator[bytes]) -> bytes:
    """Return all that a read yields, for what is known to be small."""
    return b"".join([part async for part in parts])


def artifact_of(data: bytes, name: str, media_type: str = artifacts.UNKNOWN) -> Artifact:
    """Return the claim check of bytes that are still to be stored."""
    return Artifact(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), media_type=media_type)
