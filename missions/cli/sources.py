"""Where each setting comes from, with secrets masked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.runtime.settings import Settings

_PASSWORD = re.compile(r"//[^@/\s]*@")
#: What the NATS clients share; `True`: its value is a secret.
_SHARED = {
    "NATS_URL": False,
    "NATS_CONTEXT": False,
    "NATS_CREDS": False,
    "NATS_NKEY": False,
    "NATS_CA": False,
    "NATS_USER": False,
    "NATS_PASSWORD": True,
    "NATS_TOKEN": True,
}


def setting_sources(settings: Settings, options: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, value, source) of every setting, then of the shared NATS variables that are set."""
    rows = [_row(settings, name, options) for name in type(settings).model_fields]
    shared = [(name, "***" if secret else mask(os.environ[name]), "environment") for name, secret in _given()]
    return rows + shared


def mask(text: str) -> str:
    """Return a text without the user and password of a URL in it."""
    return _PASSWORD.sub("//***@", text)


def _row(settings: Settings, name: str, options: Mapping[str, Any]) -> tuple[str, str, str]:
    variable = f"MISSIONS_{name.upper()}"
    value = getattr(settings, name)
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
    if name in options:
        source = f"--{name.replace('_', '-')}"
    else:
        source = "environment" if variable in os.environ else "default"
    return variable, mask(shown), source


def _given() -> list[tuple[str, bool]]:
    return [(name, secret) for name, secret in _SHARED.items() if name in os.environ]
