"""One call of an MCP tool, in a session of its own, by the official SDK. Imported when a goal needs it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult, TextContent

from services.executor.context import Reject
from services.executor.outside.bounded import Kept
from services.executor.outside.child_program import launched
from services.executor.outside.mcp_servers import Server

#: To start and to agree on a protocol; what a tool takes is up to the timeout of its goal.
CONNECT_S = 30.0
#: Less than what the SDK leaves between SIGTERM and SIGKILL: the launcher has to outlive what it ends.
_GRACE_S = 1.0
_NEVER_BETTER = frozenset({INVALID_PARAMS, METHOD_NOT_FOUND})
_STDERR_BYTES = 4 * 1024
_ERROR_CHARS = 1_500


class ToolFailed(Exception):
    """The tool answered that it failed; the message is its text."""


class ServerFailed(Exception):
    """The server did not start, did not answer, or answered with an error of the protocol."""


@dataclass(frozen=True)
class ToolCall:
    """What to call; `name` is the server's in the settings."""

    name: str
    server: Server
    tool: str
    arguments: dict[str, Any]


async def call(wanted: ToolCall, on_progress: ProgressFnT) -> Any:
    """Call a tool and return its structured content, or else its text, or else its content.

    Raises `ToolFailed`, `ServerFailed`, and `Reject` for what another try cannot mend. A server that was started
    for the call ends with it, also by a cancel.
    """
    stderr = Kept(0, _STDERR_BYTES)
    with explained(wanted, stderr):
        async with connected(wanted.server, stderr) as client:
            answer = await client.call_tool(wanted.tool, wanted.arguments, progress_callback=on_progress)
    return result(wanted, answer)


@asynccontextmanager
async def connected(server: Server, stderr: Kept) -> AsyncIterator[Client]:
    """Open a session, within `CONNECT_S`."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(CONNECT_S):
            if server.url:
                http = await stack.enter_async_context(_http_client(server))
                transport = streamable_http_client(server.url, http_client=http)
            else:
                errors = await stack.enter_async_context(_listening(stderr))
                transport = stdio_client(_parameters(server), errlog=errors)
            client = await stack.enter_async_context(Client(transport, cache=None))
        yield client


def _http_client(server: Server) -> httpx2.AsyncClient:
    # A stream may be silent for as long as the tool works: the goal has its own timeout.
    timeout = httpx2.Timeout(CONNECT_S, read=None)
    return httpx2.AsyncClient(headers=server.headers, timeout=timeout, trust_env=False)


def _parameters(server: Server) -> StdioServerParameters:
    program, *args = launched([server.command, *server.args], _GRACE_S, "end")
    return StdioServerParameters(command=program, args=args, env=server.env, cwd=server.cwd)


class _Listener(asyncio.Protocol):
    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def data_received(self, data: bytes) -> None:
        self._kept.add(data)


@asynccontextmanager
async def _listening(kept: Kept) -> AsyncIterator[TextIO]:
    """Give a file for a server's stderr, and keep the end of what is written to it."""
    readable, writable = os.pipe()
    with os.fdopen(writable, "w") as errors:
        pipe = os.fdopen(readable, "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Listener(kept), pipe)
        try:
            yield errors
        finally:
            transport.close()


@contextmanager
def explained(wanted: ToolCall, stderr: Kept) -> Iterator[None]:
    """Turn what the SDK raises, in groups or not, into what the executor understands."""
    try:
        yield
    except TimeoutError:
        raise ServerFailed(f"{wanted.name} did not answer within {CONNECT_S:g} s{_said(stderr)}") from None
    except Exception as error:  # noqa: BLE001 - of the SDK, of its transports, of the groups they come in
        cause = _first(error)
        if isinstance(cause, MCPError) and cause.code in _NEVER_BETTER:
            raise Reject(f"{wanted.name} refuses {wanted.tool}: {cause.message[:_ERROR_CHARS]}") from None
        raise ServerFailed(f"{wanted.name}: {_why(cause)}{_said(stderr)}") from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _why(error: BaseException) -> str:
    """Say what went wrong; errors of HTTP may hold headers and URLs with secrets, so only their name."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    if isinstance(error, httpx2.HTTPError):
        return f"no answer ({type(error).__name__})"
    return (error.message if isinstance(error, MCPError) else f"{type(error).__name__}: {error}")[:_ERROR_CHARS]


def _said(stderr: Kept) -> str:
    line = stderr.last_line()
    return f"; the last it said: {line[:_ERROR_CHARS]}" if line else ""


def result(wanted: ToolCall, answer: CallToolResult) -> Any:
    """Return what the goal returns; raises `ToolFailed` where the tool says that it failed."""
    text = "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
    if answer.is_error:
        raise ToolFailed(f"{wanted.name}/{wanted.tool}: {text[:_ERROR_CHARS] or 'it failed and said nothing'}")
    if answer.structured_content is not None:
        return answer.structured_content
    if all(isinstance(part, TextContent) for part in answer.content):
        return text
    return [part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in answer.content]


def to_progress(tell: Callable[[float, float | None, str], None]) -> ProgressFnT:
    """Pass a tool's notifications on; what is no number is no progress."""

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        with suppress(ValueError):
            tell(progress, total, message or "")

    return on_progress
