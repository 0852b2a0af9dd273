"""nats-py and the JetStream API without any code of ours between: for what we believe about the broker itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from missions.nats_server import NatsServer

_SECOND = 1_000_000_000
_ANSWER_S = 10

MSG_ID = "Nats-Msg-Id"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class Raw:
    """A connection with the few calls that nats-py lacks; answers are the broker's own JSON."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def api(self, subject: str, body: Any = None) -> Any:
        """Call the JetStream API and return the answer, an error too."""
        data = b"" if body is None else json.dumps(body).encode()
        return json.loads((await self.client.request(f"$JS.API.{subject}", data, timeout=_ANSWER_S)).data)

    async def stream(self, name: str, *subjects: str, **config: Any) -> None:
        """Create a stream on disk."""
        answer = await self.api(
            f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, "storage": "file"} | config
        )
        assert "error" not in answer, answer

    async def consumer(self, stream: str, durable: str, **config: Any) -> None:
        """Create a durable pull consumer; `ack_wait_s` is its `ack_wait`."""
        if "ack_wait_s" in config:
            config["ack_wait"] = int(config.pop("ack_wait_s") * _SECOND)
        body = {"stream_name": stream, "config": {"durable_name": durable, "deliver_policy": "all"} | config}
        answer = await self.api(f"CONSUMER.CREATE.{stream}.{durable}", body)
        assert "error" not in answer, answer

    async def consumer_info(self, stream: str, durable: str) -> Any:
        """Return where a consumer stands."""
        return await self.api(f"CONSUMER.INFO.{stream}.{durable}")

    async def messages(self, stream: str) -> int:
        """Return how many messages a stream holds."""
        return int((await self.api(f"STREAM.INFO.{stream}"))["state"]["messages"])

    async def publish(self, subject: str, data: bytes = b"x", headers: Mapping[str, str] | None = None) -> Any:
        """Publish to a stream and return the whole answer."""
        header = dict(headers) if headers else None
        return json.loads((await self.client.request(subject, data, timeout=_ANSWER_S, headers=header)).data)

    async def publish_expecting(self, subject: str, expected: int, headers: Mapping[str, str] | None = None) -> Any:
        """Publish by compare-and-set and return the whole answer."""
        return await self.publish(subject, headers={EXPECTED: str(expected)} | dict(headers or {}))

    async def batch(self, batch_id: str, messages: Sequence[tuple[str, dict[str, str]]]) -> Any:
        """Publish (subject, headers) as one atomic batch and return the answer to its commit."""
        await self.open_batch(batch_id, messages[:-1])
        subject, headers = messages[-1]
        header = headers | {
            "Nats-Batch-Id": batch_id,
            "Nats-Batch-Sequence": str(len(messages)),
            "Nats-Batch-Commit": "1",
        }
        return json.loads((await self.client.request(subject, b"x", timeout=_ANSWER_S, headers=header)).data)

    async def open_batch(self, batch_id: str, messages: Sequence[tuple[str, dict[str, str]]]) -> None:
        """Publish the messages of a batch that is not committed."""
        for number, (subject, headers) in enumerate(messages, 1):
            header = headers | {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
            await self.client.publish(subject, b"x", headers=header)

    async def pull(self, stream: str, durable: str, most: int = 1, within_s: float = 5) -> list[Msg]:
        """Return what a pull request brings; fewer than `most` where no more is there."""
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox)
        body = (
            {"batch": most, "no_wait": True} if within_s == 0 else {"batch": most, "expires": int(within_s * _SECOND)}
        )
        await self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", json.dumps(body).encode(), inbox)
        found: list[Msg] = []
        while len(found) < most:
            message = await subscription.next_msg(timeout=within_s + _ANSWER_S)
            if not message.reply:  # a status: nothing more will come
                break
            found.append(message)
        await subscription.unsubscribe()
        return found


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Raw]:
    """Connect, once."""
    client = await nats.connect(url, connect_timeout=5, allow_reconnect=False, **options)
    try:
        yield Raw(client)
    finally:
        await client.close()


def error_code(answer: Any) -> int:
    """Return the `err_code` of an answer, 0 where it is none of an error."""
    return int(answer.get("error", {}).get("err_code", 0))


#: Subjects that the broker takes from anybody: no UTF-8, and white space that does not end a subject for it.
ODD_TOKENS = (b"\xff\xfe", b"a\x0bb", b"\x0c", b"\xe2\x82", b"\x85")


async def publish_bytes(server: NatsServer, subject: bytes, data: bytes) -> None:
    """Publish under any bytes, which no client lets through, and return when the broker has taken it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPUB %b %d\r\n%b\r\nPING\r\n' % (subject, len(data), data))
    await reader.readuntil(b"PONG\r\n")
    writer.close()
    await writer.wait_closed()
