"""The client: say chat events, follow missions, ask for their outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import msgspec

from contracts import codec, ids, subjects, topology
from contracts.errors import BrokerUnfit, DecodeError, TopologyError, WaitOver
from contracts.messages import ChatEvent, Command, GoalRequest, OnFailure
from missions import artifacts
from missions.artifacts import StoredArtifact
from missions.broker_feed import BrokerFeed
from missions.records import Record
from missions.whiteboard import Whiteboard
from services.runtime import settings
from services.runtime.bus import ApiError, Bus, Unanswered
from services.runtime.chat_door import ChatDoor
from services.runtime.writer import Writer

_NO_STREAM = 10059
_AT_ONCE = 2_000


class EventFields(TypedDict, total=False):
    """What a chat event may say beside its text: design of the message, see `contracts.messages.ChatEvent`."""

    id: str
    conversation: str
    sender: str
    queue: str | None
    deadline_s: float | None
    title: str
    goals: Sequence[GoalRequest | Mapping[str, Any]]
    on_failure: OnFailure
    max_parallel: int
    metadata: Mapping[str, Any]


class Filters(TypedDict, total=False):
    """What `missions()` can be narrowed by; `as_of`, `since` and `until` take a sequence or a time."""

    status: str
    core: str
    queue: str
    conversation: str
    kind: str
    q: str
    since: str
    until: str
    as_of: str
    limit: int
    cursor: str


class Client:
    """Speaks to Missions: `async with Client() as client`.

    NATS is found as the services find it, and connected to when something needs it. With a `whiteboard_url`, missions
    are followed and read over HTTP; without one, on the broker, and only `missions()` asks the whiteboard.
    """

    def __init__(
        self, nats_url: str | None = None, whiteboard_url: str | None = None, *, connect_s: float | None = None
    ) -> None:
        self.settings = settings.load(nats_url=nats_url, whiteboard_url=whiteboard_url, connect_s=connect_s)
        self.whiteboard = Whiteboard(self.settings.whiteboard_url, settings.token_of(self.settings))
        self._reads_whiteboard = whiteboard_url is not None
        self._connecting = asyncio.Lock()
        self._broker: _Broker | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection to NATS, if there is one."""
        if self._broker is not None:
            await self._broker.bus.close()
            self._broker = None

    async def bus(self) -> Bus:
        """Return the connection to NATS, for what this client has no word for."""
        return (await self._connected()).bus

    async def say(self, text: str | None = None, **fields: Unpack[EventFields]) -> str:
        """Publish a chat event and return the id of its mission, once the broker has the event on disk.

        Say a text, or `goals=[{"kind": "echo", "params": {"text": "hi"}}]`. The same `id` in the same conversation is
        the same mission, however often it is said. Raises `ContractError` for what cannot be said, `WriteError`
        when nobody can tell whether it is stored: say it again with the same `id`.
        """
        return await self._publish(event_of({"text": text, **fields}))

    async def say_many(self, events: Iterable[ChatEvent | Mapping[str, Any]]) -> list[str]:
        """Publish many chat events side by side and return the ids of their missions, in the same order.

        Stops at the first that cannot be stored; what was stored before stays stored.
        """
        pending = [event if isinstance(event, ChatEvent) else event_of(event) for event in events]
        found: list[str] = []
        for start in range(0, len(pending), _AT_ONCE):
            found += await asyncio.gather(*(self._publish(event) for event in pending[start : start + _AT_ONCE]))
        return found

    async def cancel(self, mission_id: str, reason: str = "") -> None:
        """Ask for a mission to be cancelled; its outcome tells whether it was. `reason` is kept with it."""
        command = Command(kind="cancel", mission_id=mission_id, reason=reason)
        await self._publish(event_of({"command": msgspec.to_builtins(command)}))

    async def answer(
        self,
        mission_id: str,
        answer: Any,
        goal: str | None = None,
        *,
        sender: str = "",
        conversation: str = subjects.DEFAULT_CONVERSATION,
    ) -> None:
        """Answer what a mission asks: any JSON. `goal` names whose question, where several goals ask.

        An answer that does not fit is asked for again; one that nobody waits for is refused in the `conversation`.
        """
        command = Command(kind="answer", mission_id=mission_id, answer=answer, goal=goal or "")
        fields = {"command": msgspec.to_builtins(command), "sender": sender, "conversation": conversation}
        await self._publish(event_of(fields))

    async def retry(
        self,
        mission_id: str,
        *,
        id: str = "",  # noqa: A002 - as in `say`
        sender: str = "",
        conversation: str = subjects.DEFAULT_CONVERSATION,
    ) -> str:
        """Ask for a mission that failed to be tried again, and return the id of the new one.

        It has the goals of the old one, keeps the results of those that finished, and replies in the `conversation`.
        It is `rejected`, and says why, where the old one completed or has not ended.
        """
        command = Command(kind="retry", mission_id=mission_id)
        fields = {"command": msgspec.to_builtins(command), "id": id, "sender": sender, "conversation": conversation}
        return await self._publish(event_of(fields))

    async def follow(self, mission_id: str) -> AsyncGenerator[Record]:
        """Yield the records of a mission, those stored and those to come, each once, until the terminal one.

        A mission that is not known yet is waited for: bound it with `asyncio.timeout`.
        """
        source = self.whiteboard if self._reads_whiteboard else (await self._connected()).feed
        async with aclosing(source.follow(mission_id)) as records:
            async for record in records:
                yield record
                if record.terminal:
                    return

    async def wait(self, mission_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """Return the mission once it has its outcome; raises `WaitOver` when that takes longer than `seconds`."""
        if self._reads_whiteboard:
            return await self.whiteboard.outcome(mission_id, seconds)
        status = "unknown"
        try:
            async with asyncio.timeout(seconds):
                async for record in self.follow(mission_id):
                    status = record.status
        except TimeoutError as error:
            raise WaitOver(f"mission {mission_id} has no outcome after {seconds:g} s: it is {status}") from error
        return await self.mission(mission_id)

    async def mission(self, mission_id: str) -> dict[str, Any]:
        """Return a mission as it stands (design of `GET /missions/{id}`); raises `NotFound`."""
        if self._reads_whiteboard:
            return await self.whiteboard.mission(mission_id)
        return await (await self._connected()).feed.mission(mission_id)

    async def missions(self, **filters: Unpack[Filters]) -> dict[str, Any]:
        """Return a page of missions, `{"items", "next_cursor", "seq"}`, newest first."""
        return await self.whiteboard.missions(filters)

    async def artifacts(self, mission_id: str) -> list[StoredArtifact]:
        """Return what the goals of a mission kept, and large results, under the name `result`."""
        if self._reads_whiteboard:
            return await artifacts.over_http(self.whiteboard, mission_id)
        return artifacts.on_broker(await self.bus(), await self.mission(mission_id))

    async def artifact(self, mission_id: str, name: str, goal: str | None = None) -> StoredArtifact:
        """Return one artifact, to be read whole (`read`), a block at a time (`blocks`) or into a file (`save`).

        What comes is verified against the record. Raises `NotFound`, or `ContractError` where more than one goal kept
        that name and `goal` does not say which; reading raises `Gone` for what was removed.
        """
        return artifacts.pick(await self.artifacts(mission_id), name, goal)

    async def why(self, mission_id: str) -> dict[str, Any]:
        """Return why a mission is where it is, as the whiteboard sees it: `{"summary", "details", "facts", …}`."""
        return await self.whiteboard.why(mission_id)

    async def _publish(self, event: ChatEvent) -> str:
        return await (await self._connected()).door.publish(event)

    async def _connected(self) -> _Broker:
        async with self._connecting:
            if self._broker is None:
                self._broker = _Broker(await _connect(self.settings))
        return self._broker


class _Broker:
    """What a connection to NATS gives a client."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.door = ChatDoor(bus, Writer(bus, topology.CHAT))
        self.feed = BrokerFeed(bus)


def event_of(fields: Mapping[str, Any]) -> ChatEvent:
    """Return the chat event with these fields, checked as every reader will check it; raises `ContractError`."""
    given = {name: value for name, value in fields.items() if value is not None}
    deadline = given.get("deadline_s", 0)
    if isinstance(deadline, float) and not math.isfinite(deadline):
        raise DecodeError("the deadline is no number of seconds", pointer="/deadline_s")
    unknown = given.keys() - set(ChatEvent.__struct_fields__)
    if unknown:
        raise DecodeError(f"a chat event has no {', '.join(sorted(unknown))}")
    for name in ("conversation", "queue"):
        if isinstance(token := given.get(name), str):
            ids.check_token(token, name)
    return codec.decode_chat_event(codec.encode(given), conversation=subjects.DEFAULT_CONVERSATION, fallback_id="")


async def _connect(given: settings.Settings) -> Bus:
    bus = await Bus.connect(given, service="client")
    try:
        await _check_door(bus)
    except BaseException:
        await bus.close()
        raise
    return bus


async def _check_door(bus: Bus) -> None:
    """Find out at once, not after many retries, that nothing would store what is said."""
    try:
        await bus.api(f"STREAM.MSG.GET.{topology.CHAT}", {"seq": 1})
    except Unanswered as error:
        raise BrokerUnfit(f"JetStream is off at {bus.address.shown}: start the server with -js") from error
    except ApiError as error:
        if error.err_code == _NO_STREAM:
            raise TopologyError(f"No stream captures {subjects.CHAT_EVENTS}. Run: missions setup") from error
