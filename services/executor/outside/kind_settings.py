"""What the built-in kinds need, looked at when an executor starts instead of by the first goal that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from services.executor.outside import mcp_servers
from services.executor.outside.llm_endpoint import Endpoint
from services.executor.outside.programs import Programs
from services.runtime.settings import Settings

#: What lists what a kind may use, without which it is off; the library that it needs, and the extra that installs it.
_NEEDS = {
    "command": ("commands", "", ""),
    "http.get": ("http_allow", "httpx2", "http"),
    "http.request": ("http_allow", "httpx2", "http"),
    "llm": ("llm_base_url", "openai", "llm"),
    "mcp": ("mcp_servers", "mcp", "mcp"),
}


def check(settings: Settings) -> None:
    """Raise `SetupError` for a setting of a kind that cannot work; hosts are checked by the kinds that call them."""
    Programs.parse(settings.commands, settings.command_env)
    mcp_servers.read(settings.mcp_servers)
    Endpoint.of(settings)


def off(settings: Settings) -> dict[str, str]:
    """Return the kinds that cannot run as things are, with what to install and to set."""
    found = {kind: " and ".join(_lacks(settings, *needs)) for kind, needs in _NEEDS.items()}
    return {kind: lacking for kind, lacking in found.items() if lacking}


def _lacks(settings: Settings, setting: str, library: str, extra: str) -> Iterator[str]:
    if library and find_spec(library) is None:
        yield f'pip install "nats-missions[{extra}]"'
    if not getattr(settings, setting):
        yield f"set MISSIONS_{setting.upper()}"
