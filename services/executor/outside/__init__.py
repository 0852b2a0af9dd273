"""What built-in kinds reach outside of us: programs, HTTP hosts, MCP servers, models."""
