"""Which MCP servers and tools the kind `mcp` may use: the file that MISSIONS_MCP_SERVERS names."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from contracts.errors import SetupError
from services.executor.context import Reject
from services.runtime import settings

SETTING = "MISSIONS_MCP_SERVERS"
ALL_TOOLS = "*"
_EXAMPLE = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"], "tools": ["get_current_time"]}}}'
_HTTP = ("http://", "https://")


class Server(Struct, frozen=True, kw_only=True):
    """A server as other MCP clients configure it, and `tools`: those that goals may call; `["*"]` means all."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    disabled: bool = False

    def __repr__(self) -> str:
        """Leave out what may hold secrets: env, args and headers."""
        return f"Server({self.command or 'url'}, tools={list(self.tools)})"


class _File(Struct, frozen=True, rename="camel"):
    mcp_servers: dict[str, Server]


def read(path: Path | None) -> Mapping[str, Server]:
    """Return the servers of a file by name, none without a file; raises `SetupError` for one that cannot be used."""
    if path is None:
        return {}
    try:
        servers = msgspec.json.decode(path.read_bytes(), type=_File).mcp_servers
    except OSError as error:
        raise SetupError(f"{SETTING}: {path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise SetupError(f"{SETTING}: {path}: {error}; it looks like {_EXAMPLE}") from error
    for name, server in servers.items():
        if mistake := _mistake(server):
            raise SetupError(f"{SETTING}: {path}: server {name!r} {mistake}")
    return {name: server for name, server in servers.items() if not server.disabled}


def _mistake(server: Server) -> str:
    if bool(server.command) == bool(server.url):
        return "needs either a command or a url"
    if server.url and not server.url.startswith(_HTTP):
        return "has a url that is not http(s)"
    return ""


@functools.cache
def configured() -> Mapping[str, Server]:
    """Return the servers of the settings, read once; raises `Reject` where those are wrong."""
    try:
        return read(settings.load().mcp_servers)
    except SetupError as error:
        raise Reject(str(error)) from error


def allowed(servers: Mapping[str, Server], name: str, tool: str) -> Server:
    """Return the server whose tool may be called; raises `Reject` saying how to allow it."""
    if not servers:
        raise Reject(f"no MCP server may be used yet: let {SETTING} name a file such as {_EXAMPLE}")
    if name not in servers:
        raise Reject(f"no MCP server {name!r} in {SETTING}; there are: {', '.join(sorted(servers))}")
    server = servers[name]
    if tool not in server.tools and ALL_TOOLS not in server.tools:
        listed = ", ".join(server.tools) or "none"
        raise Reject(f'the tool {tool!r} of {name} is not allowed: add it to "tools" in {SETTING} (now: {listed})')
    if server.command and shutil.which(server.command) is None:
        raise Reject(f"the MCP server {name} cannot be started: there is no program {server.command!r}")
    return server
