"""Where NATS is: a setting, `NATS_URL`, the selected `nats` CLI context, or the local default."""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import SetupError
from services.runtime.settings import Settings

DEFAULT_URL = "nats://127.0.0.1:4222"
_CONTEXT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SECRET_STORES = ("op://", "nsc://")
_CONTEXT_FIELDS = {"creds": "user_credentials", "nkey": "nkeys_seed", "user": "user", "password": "password"}
_PASSWORD = re.compile(r"//[^@/]*@")


@dataclass(frozen=True)
class NatsAddress:
    """A URL, where it came from, and what `nats.connect` needs beside it."""

    url: str
    source: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        return _PASSWORD.sub("//", self.url)


def find(settings: Settings) -> NatsAddress:
    """Resolve the address in the documented order; the credentials of a context go to its own URL only."""
    url, source = _named(settings)
    if url:
        return NatsAddress(url, source, _own_options(settings))
    if context := _selected_context():
        return _from_context(context)
    return NatsAddress(DEFAULT_URL, "the default", _own_options(settings))


def _named(settings: Settings) -> tuple[str, str]:
    if settings.nats_url:
        return settings.nats_url, "--nats-url or MISSIONS_NATS_URL"
    return os.environ.get("NATS_URL", ""), "NATS_URL"


def _own_options(settings: Settings) -> dict[str, Any]:
    creds = settings.nats_creds or os.environ.get("NATS_CREDS")
    nkey = settings.nats_nkey or os.environ.get("NATS_NKEY")
    options: dict[str, Any] = {}
    if creds:
        options["user_credentials"] = str(creds)
    if nkey:
        options["nkeys_seed"] = str(nkey)
    for name in ("user", "password", "token"):
        if value := os.environ.get(f"NATS_{name.upper()}"):
            options[name] = value
    if ca := settings.nats_ca or os.environ.get("NATS_CA"):
        options["tls"] = ssl.create_default_context(cafile=str(ca))
    return options


def _context_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nats"


def _selected_context() -> Path | None:
    selected = _context_folder() / "context.txt"
    name = os.environ.get("NATS_CONTEXT") or (selected.read_text().strip() if selected.is_file() else "")
    if not name:
        return None
    if not _CONTEXT_NAME.fullmatch(name):
        raise SetupError(f"the name of the selected NATS context is not usable: {name!r}")
    return _context_folder() / "context" / f"{name}.json"


def _from_context(path: Path) -> NatsAddress:
    try:
        context = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(
            f"cannot read the NATS context {path}: {error}; select another: nats context select"
        ) from error
    options: dict[str, Any] = {
        ours: _secret(context[theirs]) for theirs, ours in _CONTEXT_FIELDS.items() if context.get(theirs)
    }
    if context.get("token"):
        options["token"] = _secret(context["token"])
    if context.get("ca"):
        options["tls"] = ssl.create_default_context(cafile=context["ca"])
    return NatsAddress(context.get("url") or DEFAULT_URL, f"NATS context {path.stem}", options)


def _secret(value: str) -> str:
    """Resolve `env://NAME` and `file://PATH`; a path or an inline secret passes."""
    if value.startswith(_SECRET_STORES):
        raise SetupError(
            f"NATS contexts with {value.split('://', maxsplit=1)[0]}:// secrets are not supported: use a creds file"
        )
    if value.startswith("env://"):
        return os.environ.get(value.removeprefix("env://"), "")
    if value.startswith("file://"):
        return Path(value.removeprefix("file://")).read_text().strip()
    return value
