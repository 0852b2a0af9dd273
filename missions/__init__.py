"""Durable missions from chat on NATS JetStream: the user's door."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from missions import beside

if TYPE_CHECKING:
    from missions.client import Client
    from services.executor.context import Context, QuestionExpired, Reject
    from services.executor.registry import goal

beside.install()

__version__ = "0.1.0"

__all__ = ["Client", "Context", "QuestionExpired", "Reject", "__version__", "goal"]

#: Loaded at the first use: `import missions` and `missions --help` stay cheap.
_HOMES = {
    "Client": "missions.client",
    "Context": "services.executor.context",
    "QuestionExpired": "services.executor.context",
    "Reject": "services.executor.context",
    "goal": "services.executor.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'missions' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
