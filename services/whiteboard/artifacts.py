"""Artifacts over HTTP: listed as the records name them, streamed from the object store, never shown as a page."""

from __future__ import annotations

import string
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from contracts import artifacts
from contracts.errors import ArtifactDamaged, Gone, MissionsError, NotFound, WriteError
from contracts.messages import Artifact
from services.runtime.bus import ApiError
from services.runtime.http import json_response, problem
from services.runtime.objects import Objects
from services.runtime.openapi import Operation, Parameter
from services.whiteboard import parameters, query
from services.whiteboard.query import Found
from services.whiteboard.stamping import not_modified

log = structlog.get_logger()

#: What a browser would run or lay out is handed over as bytes.
_ACTIVE = ("html", "xml", "svg", "script")
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "none",
}
#: What may stand between quotes in a header, of a name that came in a record.
_PLAIN = frozenset(string.printable) - frozenset(string.whitespace + '"\\%') | {" "}


class _Goal(Struct, frozen=True):
    """What a view says about the artifacts of a goal."""

    id: str
    result: Raw = Raw(b"null")
    artifacts: tuple[Artifact, ...] = ()

    def all(self) -> tuple[Artifact, ...]:
        """Return its artifacts, and its result where that is kept as one."""
        result = artifacts.claimed(self.result)
        return (*self.artifacts, result) if result else self.artifacts


class _View(Struct, frozen=True):
    goals: tuple[_Goal, ...] = ()


_decode_view = msgspec.json.Decoder(_View).decode


class Artifacts:
    """The answers about artifacts; lives on the event loop."""

    def __init__(self, index: Path, objects: Objects) -> None:
        self._connection = query.connect(index)
        self._objects = objects

    def close(self) -> None:
        """Close what reads the index."""
        self._connection.close()

    async def list(self, request: Request) -> Response:
        """`GET /missions/{id}/artifacts`."""
        parameters.check_names(request.query_params, ())
        found = self._mission(request)
        items = [_item(found, goal, artifact) for goal in _goals(found) for artifact in goal.all()]
        content = {"mission_id": found.mission_id, "items": items, "seq": found.seq}
        return json_response(content, headers={"X-Sequence": str(found.seq), "Cache-Control": "no-cache"})

    async def get(self, request: Request) -> Response:
        """`GET /missions/{id}/artifacts/{goal}/{name}`: whole and verified, or visibly cut off."""
        parameters.check_names(request.query_params, ())
        found = self._mission(request)
        goal_id, artifact = self._named(found, request.path_params["goal"], request.path_params["name"])
        headers = _headers(artifact)
        if unchanged := not_modified(request, headers):
            return unchanged
        try:
            meta = await self._objects.find(artifacts.object_name(found.mission_id, goal_id, artifact))
        except (WriteError, ApiError) as error:
            hint = "Ask again once NATS is back"
            return problem(503, "Not reachable", str(error), hint=hint, headers={"Retry-After": "2"})
        if (meta.size, meta.sha256) != (artifact.size_bytes, artifact.sha256):
            raise ArtifactDamaged(f"what is stored as {artifact.name} is not what its record names")
        if request.method == "HEAD":
            return Response(headers=headers, media_type=headers["Content-Type"])
        return _Transfer(self._objects.read(meta), headers=headers, media_type=headers["Content-Type"])

    def _mission(self, request: Request) -> Found:
        return query.mission(self._connection, request.path_params["mission_id"])

    @staticmethod
    def _named(found: Found, goal_id: str, name: str) -> tuple[str, Artifact]:
        for goal in _goals(found):
            for artifact in goal.all():
                if (goal.id, artifact.name) == (goal_id, name):
                    return goal.id, artifact
        raise NoArtifact(f"goal {goal_id[:64]!r} of mission {found.mission_id} kept no artifact {name[:128]!r}")


class ArtifactItem(Struct, frozen=True):
    """An artifact: what its record says of it, and where it is."""

    goal: str
    name: str
    size_bytes: int
    sha256: str
    media_type: str
    url: str


class ArtifactList(Struct, frozen=True):
    """All artifacts of a mission; `seq` is its last record."""

    mission_id: str
    items: list[ArtifactItem]
    seq: int


class NoArtifact(NotFound):
    """No record names such an artifact."""


class _Transfer(StreamingResponse):
    """Sends an artifact as fast as it is read. What fails in the middle ends the connection: it never looks whole."""

    async def stream_response(self, send: Send) -> None:
        chunks = self.body_iterator
        assert isinstance(chunks, AsyncGenerator)  # noqa: S101 - `Objects.read` is one
        try:
            await super().stream_response(send)
        except (MissionsError, ApiError) as error:
            log.warning("artifact_cut_off", error=str(error))
        finally:
            await chunks.aclose()


def _goals(found: Found) -> tuple[_Goal, ...]:
    return _decode_view(found.view).goals


def _item(found: Found, goal: _Goal, artifact: Artifact) -> dict[str, Any]:
    url = f"/missions/{found.mission_id}/artifacts/{goal.id}/{quote(artifact.name, safe='')}"
    return {"goal": goal.id, **msgspec.to_builtins(artifact), "media_type": artifact.media_type, "url": url}


def _headers(artifact: Artifact) -> dict[str, str]:
    plain = "".join(letter if letter in _PLAIN else "_" for letter in artifact.name)
    named = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(artifact.name, safe='')}"
    return {
        **_SAFE,
        "Content-Type": _media_type(artifact),
        "Content-Disposition": named,
        "Content-Length": str(artifact.size_bytes),
        "ETag": f'"{artifact.sha256}"',
    }


def _media_type(artifact: Artifact) -> str:
    """Return the media type where it is one, and one that nothing runs or lays out."""
    given = artifact.media_type
    if not artifacts.is_media_type(given) or any(word in given for word in _ACTIVE):
        return artifacts.UNKNOWN
    return given


def routes(answers: Artifacts) -> list[Operation]:
    """Return the routes of artifacts."""
    of_one = parameters.MISSION_ID
    return [
        Operation(
            "/missions/{mission_id}/artifacts",
            answers.list,
            "What the goals of a mission kept",
            parameters=(of_one,),
            answers={200: ArtifactList},
        ),
        Operation(
            "/missions/{mission_id}/artifacts/{goal}/{name}",
            answers.get,
            "One artifact, as its goal kept it",
            parameters=(
                of_one,
                Parameter("goal", "The goal that kept it", where="path"),
                Parameter("name", "Its name", where="path"),
            ),
            answers={304: None},
            media_types={"*/*": {"type": "string"}},
            problems={410: "it was removed", 503: "the broker is away"},
        ),
    ]


async def _on_no_artifact(_: Request, error: Exception) -> Response:
    return problem(404, "No such artifact", str(error), hint="GET /missions/{id}/artifacts lists what there is")


async def _on_gone(_: Request, error: Exception) -> Response:
    return problem(
        410, "Gone", str(error), hint="Its record stays; what it kept was removed, by missions prune for one"
    )


#: What goes wrong with artifacts alone.
ERRORS: Mapping[type[MissionsError], Any] = {NoArtifact: _on_no_artifact, Gone: _on_gone}
