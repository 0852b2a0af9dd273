"""The kind `mcp`: calls a tool of an MCP server. Only servers and tools that the file of MISSIONS_MCP_SERVERS lists."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from services.executor.context import Context
from services.executor.outside import extras, mcp_servers
from services.executor.registry import goal

Arguments = Annotated[dict[str, Any], Field(max_length=64)]


@goal("mcp")
async def mcp(ctx: Context, server: str, tool: str, arguments: Arguments | None = None) -> Any:
    """Call an allowed tool of a listed MCP server, over stdio or streamable HTTP; gives what the tool gives."""
    found = mcp_servers.allowed(mcp_servers.configured(), server, tool)
    await extras.need(ctx.kind, "mcp", extra="mcp")
    from services.executor.outside import mcp_call  # noqa: PLC0415 - only now: it imports the SDK

    wanted = mcp_call.ToolCall(server, found, tool, arguments or {})
    return await mcp_call.call(wanted, mcp_call.to_progress(ctx.progress))
