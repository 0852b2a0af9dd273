"""What is asked of the broker. Only this module and its neighbours know nats-py."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from contracts import headers as names
from contracts.errors import MaybeStored
from services.runtime.batches import Batches
from services.runtime.connection import API_SECONDS, Connection
from services.runtime.incoming import Stored, header_map, nanoseconds
from services.runtime.nats_address import NatsAddress
from services.runtime.nats_client import LeanClient

_NOT_FOUND = 404


class ApiError(Exception):
    """The broker refused; branch on `err_code`, never on the text."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code or code})")
        self.code = code
        self.err_code = err_code


class Unanswered(MaybeStored):
    """The broker did not answer in time, or nobody listens on that subject."""


class PubAck(msgspec.Struct, frozen=True):
    """What the broker stored."""

    stream: str
    seq: int
    duplicate: bool = False


class StreamState(msgspec.Struct, frozen=True):
    """Where a stream stands; `created` changes when it was made anew."""

    created: str
    first_seq: int
    last_seq: int
    messages: int
    bytes: int
    max_bytes: int
    at_ns: int = 0  #: the broker's clock, in nanoseconds since the epoch


_decode_json = msgspec.json.Decoder().decode


class Bus(Connection):
    """A connection, and the questions that Missions has for JetStream."""

    def __init__(self, client: LeanClient, address: NatsAddress) -> None:
        super().__init__(client, address)
        self._batches = Batches(client, API_SECONDS)

    async def request(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None, seconds: float = API_SECONDS
    ) -> Any:
        """Ask and return the decoded JSON answer; raises `ApiError` or `Unanswered`."""
        try:
            answer = await self.nats.request(subject, data, timeout=seconds, headers=headers)
        except (NoRespondersError, TimeoutError, NatsError, OSError) as error:
            self.unanswered += 0 if isinstance(error, NoRespondersError) else 1
            raise Unanswered(f"no answer on {subject}: {str(error) or type(error).__name__}") from error
        self.unanswered = 0
        return _checked(answer.data)

    async def publish_acked(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None, seconds: float = API_SECONDS
    ) -> PubAck:
        """Publish to a stream and return its acknowledgement; raises `ApiError` or `Unanswered`."""
        answer = await self.request(subject, data, headers, seconds)
        return PubAck(answer["stream"], answer["seq"], answer.get("duplicate", False))

    async def publish_batch(
        self, batch_id: str, messages: Sequence[tuple[str, dict[str, str], bytes]], seconds: float = API_SECONDS
    ) -> PubAck:
        """Store messages as one atomic batch, all or none, and return the acknowledgement of the last.

        Headers are written into. Raises `ApiError` where nothing is stored, `Unanswered` where nobody knows.
        """
        for number, (_, headers, _) in enumerate(messages, 1):
            headers[names.BATCH_ID] = batch_id
            headers[names.BATCH_SEQ] = str(number)
        subject, headers, data = messages[-1]
        headers[names.BATCH_COMMIT] = "1"
        await self.nats.publish_all(messages[:-1])
        return await self.publish_acked(subject, data, headers, seconds)

    async def api(self, subject: str, body: Any = None) -> Any:
        """Call the JetStream API, e.g. `STREAM.INFO.MISSIONS`."""
        return await self.request(f"$JS.API.{subject}", b"" if body is None else msgspec.json.encode(body))

    async def head(self, stream: str, subject: str) -> Stored | None:
        """Return the last message on a subject (wildcards work), read from the leader."""
        return await self._stored(stream, {"last_by_subj": subject})

    async def message(self, stream: str, seq: int) -> Stored | None:
        """Return the message at a sequence, or None where there is none."""
        return await self._stored(stream, {"seq": seq})

    async def _stored(self, stream: str, query: dict[str, Any]) -> Stored | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", query)
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        message = answer["message"]
        return Stored(
            subject=message["subject"],
            seq=message["seq"],
            time_ns=nanoseconds(message["time"]),
            data=base64.b64decode(message.get("data", "")),
            headers=header_map(base64.b64decode(message.get("hdrs", ""))),
        )

    async def records(self, stream: str, subject: str, after: int = 0) -> list[Stored]:
        """Return every message on one subject after a sequence, oldest first, up to what the leader has.

        They come in batches from whoever is near; the last ones, which a replica may lack, from the leader one by one.
        """
        found: list[Stored] = []
        seq = after + 1
        while batch := await self._batches.read(stream, subject, seq):
            found += batch.messages
            seq = found[-1].seq + 1 if found else seq
            if batch.complete or not batch.messages:
                break
        while stored := await self._stored(stream, {"seq": seq, "next_by_subj": subject}):
            found.append(stored)
            seq = stored.seq + 1
        return found

    async def page(self, stream: str, subject: str, seq: int, most: int) -> list[Stored]:
        """Return messages on a subject from a sequence on, at most so many; fewer do not mean that it is all."""
        batch = await self._batches.read(stream, subject, seq, most)
        if batch is not None:
            return batch.messages
        stored = await self._stored(stream, {"seq": seq, "next_by_subj": subject})
        return [stored] if stored else []

    async def direct_next(self, stream: str, subject: str, seq: int) -> Stored | None:
        """Return the first message on a subject from a sequence on, as bytes: by direct get, else from the leader."""
        query = {"seq": seq, "next_by_subj": subject}
        try:
            answer = await self.nats.request(
                f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), timeout=API_SECONDS
            )
        except (NoRespondersError, TimeoutError, NatsError, OSError) as error:
            raise Unanswered(f"{stream} cannot be read: {str(error) or type(error).__name__}") from error
        said = answer.headers or {}
        if "Nats-Sequence" not in said:  # a replica may be behind
            return await self._stored(stream, query)
        time_ns = nanoseconds(said["Nats-Time-Stamp"])
        return Stored(said["Nats-Subject"], int(said["Nats-Sequence"]), time_ns, answer.data, dict(said))

    async def last_per_subject(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches (meant for small streams)."""
        info = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter})
        subjects: dict[str, int] = info["state"].get("subjects") or {}
        found = [await self.head(stream, subject) for subject in sorted(subjects)]
        return [stored for stored in found if stored is not None]

    async def stream_state(self, stream: str) -> StreamState:
        """Return where a stream stands."""
        info = await self.api(f"STREAM.INFO.{stream}")
        state = info["state"]
        return StreamState(
            created=info["created"],
            first_seq=state["first_seq"],
            last_seq=state["last_seq"],
            messages=state["messages"],
            bytes=state["bytes"],
            max_bytes=info["config"]["max_bytes"],
            at_ns=nanoseconds(info["ts"]),
        )

    async def reset_consumer(self, stream: str, durable: str, seq: int) -> None:
        """Make the consumer deliver from `seq` on; the broker accepts one beyond its end in silence."""
        await self.api(f"CONSUMER.RESET.{stream}.{durable}", {"seq": seq})


def _checked(data: bytes) -> Any:
    answer = _decode_json(data)
    if "error" in answer:
        error = answer["error"]
        raise ApiError(error.get("code", 0), error.get("err_code", 0), error.get("description", ""))
    return answer
