"""A server that speaks the OpenAI chat completions protocol on loopback: `python chat_server.py PORT`, or in a test.

It answers to the last message: it says it again, word by word, unless the word is one of `ODD`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@dataclass
class ChatServer:
    """What the server was asked, and whom it waits for."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request on a connection."""
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            sizes = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")]
            question = json.loads(await reader.readexactly(int(sizes[0])))
            self.headers.append(head)
            self.asked.append(question)
            await self._answer(question, reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has seen enough
        finally:
            self.open -= 1
            writer.close()

    async def _answer(
        self, question: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        text = question["messages"][-1]["content"]
        word, _, rest = text.partition(" ")
        if word.isdigit():
            writer.write(refusal(int(word), rest))
        elif "max_tokens" in question and question["model"] == "newer":
            writer.write(refusal(400, "Unsupported parameter: use 'max_completion_tokens' instead."))
        elif word == "drop":
            writer.transport.abort()
        else:
            writer.write(HEAD)
            await self._stream(word, rest, text, reader, writer)

    async def _stream(
        self, word: str, rest: str, text: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if word == "odd":
            writer.write(f"data: {rest}\n\n".encode())
            return
        for piece in text.split(" ") if word != "long" else ["x" * 10_000] * 20:
            writer.write(event({"choices": [{"index": 0, "delta": {"content": f"{piece} "}}]}))
        await writer.drain()
        if word == "hang":
            await reader.read()
        elif word != "cut":
            reason = rest if word == "end" else "stop"
            writer.write(event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
            writer.write(event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")


def event(content: dict[str, Any]) -> bytes:
    """Return one event of the stream."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "small-1"} | content
    return f"data: {json.dumps(chunk)}\n\n".encode()


def refusal(status: int, message: str) -> bytes:
    """Return an error as OpenAI writes it."""
    body = json.dumps({"error": {"message": message, "type": "test"}}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def chatting(port: int = 0) -> AsyncIterator[ChatServer]:
    """Run the server."""
    server = ChatServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server


async def _main() -> None:
    async with chatting(int(sys.argv[1])):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
