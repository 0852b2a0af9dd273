"""A whole stack under load: say many things, break something, check everything."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from contracts import subjects, topology
from contracts.errors import MissionsError
from contracts.messages import ChatEvent
from missions import Client
from missions.stack import Stack
from missions.testing import history
from missions.testing.reading import whole_stream
from missions.testing.running import redeliver_soon
from missions.whiteboard import Whiteboard
from services.runtime.bus import ApiError, Bus
from services.runtime.incoming import Stored
from tests.support.eventually import eventually

LEASE_S = 1.5
WITHIN_S = 60.0
DRILL_GOALS = Path(__file__).parents[1] / "e2e" / "drill_goals.py"

_SAYING_AT_ONCE = 20
_DONE_WITH = (
    (topology.CHAT, topology.ORCHESTRATOR),
    (topology.MISSIONS, topology.ORCHESTRATOR),
    (topology.MISSIONS, topology.executor_durable("default")),
)


class Drill:
    """A running stack, the test's own connection to its broker, and what was said to it."""

    def __init__(self, stack: Stack, client: Client, http: httpx2.AsyncClient) -> None:
        self.stack = stack
        self.client = client
        self.acknowledged: list[ChatEvent] = []
        self.followed: list[int] = []  #: sequences that a reader of the whiteboard's feed has seen
        self._http = http

    async def bus(self) -> Bus:
        """Return the connection to the broker."""
        return await self.client.bus()

    async def say(self, events: Iterable[ChatEvent]) -> None:
        """Say chat events side by side, half of them over HTTP; each again and again until it is acknowledged."""
        turn = asyncio.Semaphore(_SAYING_AT_ONCE)

        async def say_one(number: int, event: ChatEvent) -> None:
            async with turn:
                await eventually(lambda: self._is_said(event, over_http=number % 2 == 0), WITHIN_S)
            self.acknowledged.append(event)

        async with asyncio.TaskGroup() as group:
            for number, event in enumerate(events):
                group.create_task(say_one(number, event))

    async def _is_said(self, event: ChatEvent, *, over_http: bool) -> bool:
        if over_http:
            return await self.post(self.stack.orchestrator_url, event) == httpx2.codes.ACCEPTED
        with suppress(MissionsError):
            await self.client.say(event.text, id=event.id, conversation=event.conversation)
            return True
        return False

    async def post(self, url: str, event: ChatEvent) -> int:
        """Post a chat event to a service and return the status of the answer; 0 where there was none."""
        body = {"id": event.id, "conversation": event.conversation, "text": event.text}
        try:
            return (await self._http.post(f"{url}/chat/integrated", json=body)).status_code
        except httpx2.TransportError:
            return 0

    async def stored(self, stream: str = topology.MISSIONS) -> int:
        """Return how many messages a stream holds."""
        return (await (await self.bus()).stream_state(stream)).messages

    async def until_stored(self, messages: int) -> None:
        """Wait until MISSIONS holds so many messages."""

        async def is_stored() -> bool:
            with suppress(ApiError, MissionsError):  # the broker may be down
                return await self.stored() >= messages
            return False

        await eventually(is_stored, WITHIN_S)

    async def records(self, mission_id: str) -> list[Stored]:
        """Return the status records of a mission."""
        return await (await self.bus()).records(topology.MISSIONS, subjects.status("*", mission_id))

    async def read(self, stream: str) -> list[Stored]:
        """Return a whole stream."""
        return await whole_stream(await self.bus(), stream)

    async def until_over(self, missions: int) -> None:
        """Wait until so many missions are there and have ended."""
        board = Whiteboard(self.stack.whiteboard_url)

        async def are_over() -> dict[str, Any] | None:
            with suppress(MissionsError):
                counts = (await board.stats())["by_core"]
                return counts if counts["completed"] + counts["failed"] == missions else None
            return None

        await eventually(are_over, WITHIN_S)

    async def is_idle(self) -> bool:
        """Tell whether every consumer is done with what there is, and the journal with the stream."""
        bus = await self.bus()
        with suppress(ApiError, MissionsError):
            infos = [await bus.api(f"CONSUMER.INFO.{stream}.{durable}") for stream, durable in _DONE_WITH]
            board = (await Whiteboard(self.stack.whiteboard_url).stats())["seq"]
            last = (await bus.stream_state(topology.MISSIONS)).last_seq
            return board == last and not any(info["num_pending"] + info["num_ack_pending"] for info in infos)
        return False

    async def follow(self) -> None:
        """Read the whiteboard's feed from the first record on, over every interruption."""
        async for record in Whiteboard(self.stack.whiteboard_url).feed(0):
            self.followed.append(record.seq)

    async def views(self) -> list[dict[str, Any]]:
        """Return every mission as the whiteboard lists them."""
        board = Whiteboard(self.stack.whiteboard_url)
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await board.missions({"limit": 500, "cursor": cursor or None})
            found += page["items"]
            cursor = page["next_cursor"]
        return found

    async def verify(self) -> list[Stored]:
        """Wait for every mission to end, check all that is promised, and return the records."""
        await self.until_over(len(self.acknowledged))
        await eventually(self.is_idle, WITHIN_S)
        records = await self.read(topology.MISSIONS)
        replies = [stored for stored in await self.read(topology.CHAT) if stored.subject.startswith("chat.replies.")]
        history.assert_one_mission_per_event([(event.conversation, event.id) for event in self.acknowledged], records)
        history.assert_legal_history(records)
        history.assert_one_outcome(records)
        history.assert_one_reply_of_each_kind(replies, records)
        history.assert_journal_equals_stream(self.stack.journal.parent, records)
        history.assert_views_agree(await self.views(), records)
        assert await self.stored(topology.DEADLETTERS) == 0
        await eventually(lambda: len(self.followed) >= len(records), WITHIN_S)
        assert self.followed == [stored.seq for stored in records]
        return records


@asynccontextmanager
async def drill(data_dir: Path, *, executors: int = 1, lease_s: float = LEASE_S, **env: str) -> AsyncIterator[Drill]:
    """Start a stack with the drill's goals, connect to it, and read its feed until the end."""
    env = {"MISSIONS_LEASE_S": str(lease_s), "MISSIONS_LOG_FORMAT": "json"} | env
    stack = Stack(data_dir, goals=[str(DRILL_GOALS)], executors=executors, env=env)
    try:
        await asyncio.to_thread(stack.start)
        async with Client(stack.nats_url, connect_s=10) as client, httpx2.AsyncClient(timeout=5) as http:
            drilled = Drill(stack, client, http)
            await redeliver_soon(await drilled.bus())
            following = asyncio.ensure_future(drilled.follow())
            try:
                yield drilled
            finally:
                following.cancel()
                await asyncio.wait({following})
    finally:
        await asyncio.to_thread(stack.stop)


def running(stack: Stack, name: str) -> subprocess.Popen[bytes]:
    """Return the process of a service as it is now; its exit code stays to be read when another has taken its place."""
    process = stack._services[name]._process
    assert process is not None
    return process
