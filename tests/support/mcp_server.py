"""An MCP server to test against: `python mcp_server.py stdio`, or `http` and a port."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("workbench")


class Sum(BaseModel):
    """What `add` gives."""

    total: int


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool(structured_output=False)
def say(text: str) -> str:
    """Say it again."""
    return text


@server.tool(structured_output=False)
def picture() -> Image:
    """Give an image."""
    return Image(data=b"not really", format="png")


@server.tool()
def fail(why: str) -> str:
    """Fail, and say so on stderr."""
    sys.stderr.write(f"about to fail: {why}\n")
    raise ToolError(why)


@server.tool()
async def count(ctx: Context, to: int) -> int:
    """Count, telling how far it is."""
    for done in range(to):
        await ctx.report_progress(done + 1, to, f"counted {done + 1}")
    return to


@server.tool()
async def hang(ctx: Context) -> None:
    """Start a process, tell the ids of both, and never answer."""
    child = subprocess.Popen(["/bin/sleep", "600"])  # noqa: ASYNC220 - it is not waited for
    await ctx.report_progress(1, None, f"{os.getpid()} {child.pid}")
    await asyncio.sleep(600)


@server.tool()
def crash() -> None:
    """End the server in the middle of a call."""
    sys.stderr.write("out of cheese\n")
    sys.stderr.flush()
    os._exit(3)


@server.tool(structured_output=False)
def environment() -> str:
    """Name the variables of the environment."""
    return " ".join(sorted(os.environ))


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
