"""Call a tool of an MCP server: pip install "nats-missions[mcp]" mcp-server-time, then a file servers.json with

{"mcpServers": {"time": {"command": "mcp-server-time", "tools": ["get_current_time"]}}}

and MISSIONS_MCP_SERVERS=servers.json missions up.
"""

from __future__ import annotations

import asyncio

from missions import Client

GOAL = {"kind": "mcp", "params": {"server": "time", "tool": "get_current_time", "arguments": {"timezone": "UTC"}}}


async def main() -> None:
    """Ask the server for the time."""
    async with Client() as client:
        mission = await client.wait(await client.say(goals=[GOAL]), seconds=60)
    if mission["status"] != "completed":
        raise SystemExit(f"{mission['reason']}: {mission['error']['message']}")
    print(f"it is {mission['result']['datetime']}")


if __name__ == "__main__":
    asyncio.run(main())
