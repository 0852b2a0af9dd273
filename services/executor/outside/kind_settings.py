"""The settings of the built-in kinds, checked at the start instead of by the first goal that needs them."""

from __future__ import annotations

from services.executor.outside import mcp_servers
from services.executor.outside.llm_endpoint import Endpoint
from services.executor.outside.programs import Programs
from services.runtime.settings import Settings


def check(settings: Settings) -> None:
    """Raise `SetupError` for a setting of a kind that cannot work; hosts are checked by the kinds that call them."""
    Programs.parse(settings.commands, settings.command_env)
    mcp_servers.read(settings.mcp_servers)
    Endpoint.of(settings)
