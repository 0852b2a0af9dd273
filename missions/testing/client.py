"""Speaking to a stack from a test that has no event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, Unpack

from contracts.errors import MissionsError, NotFound
from contracts.lifecycle import TERMINAL, Status
from missions.client import Client, EventFields
from missions.records import Record
from missions.testing import evidence
from missions.testing.backend import Backend
from missions.testing.local_executor import Handlers, LocalExecutor
from missions.testing.portal import Portal
from missions.testing.reading import follow_until, journalled, records_of, whole_stream
from missions.testing.seen import Seen, seen
from services.runtime.incoming import Stored

T = TypeVar("T")

WAIT_S = 30.0
_EVIDENCE_WITHIN_S = 3.0


class UnexpectedStatus(AssertionError):
    """A mission ended otherwise than a test expects; its notes tell the whole story."""


class MissionsClient:
    """Says chat events in one conversation and waits for what becomes of them.

    What it raises carries, as notes, the mission's records, the state of the consumers and the tail of every log.
    """

    def __init__(  # noqa: PLR0913 - what it speaks through, and as whom
        self,
        portal: Portal,
        client: Client,
        backend: Backend,
        *,
        fields: EventFields,
        queue: str,
        recent: deque[str],
        local: LocalExecutor | None = None,
    ) -> None:
        self.conversation = fields["conversation"]
        self.queue = queue  #: the one whose executors do what is said here, unless an event names another
        self.recent = recent  #: the missions that were spoken of last, on any client of the stack
        self._fields = fields
        self._portal = portal
        self._client = client
        self._backend = backend
        self._local = local

    def serve(self, *handlers: Handlers) -> None:
        """Run these goals for this conversation, beside the stack's, in the test's own process.

        So breakpoints, coverage and patches of the test reach them. Only a client with a queue of its own can.
        """
        if self._local is None:
            raise MissionsError("this client speaks to the queue of the stack: name your goals with with_goals(…)")
        self._local.start(*handlers)

    def say(self, text: str | None = None, **fields: Unpack[EventFields]) -> str:
        """Publish a chat event and return the id of its mission, once the broker has the event on disk."""
        if self._local is not None:
            self._local.start()
        given: EventFields = {**self._fields, **fields}
        with self.explained():
            mission_id = self._portal.call(self._client.say(text, **given))
        self._note(mission_id)
        return mission_id

    def wait(self, mission_id: str, *statuses: Status | str, seconds: float = WAIT_S) -> Seen:
        """Return the mission once it is in one of these statuses; with none named: once it is over.

        Raises `UnexpectedStatus` as soon as it is over otherwise, `WaitOver` when the time is.
        """
        __tracebackhide__ = True
        self._note(mission_id)
        wanted = frozenset(Status(status) for status in statuses) or TERMINAL
        with self.explained(mission_id):
            self._portal.call(follow_until(self._client, mission_id, wanted, seconds))
            found = self.mission(mission_id)
            if found.status not in wanted and found.is_over:
                raise UnexpectedStatus(f"{found}, expected: {', '.join(sorted(wanted))}")
            return found

    def run(self, text: str | None = None, *, seconds: float = WAIT_S, **fields: Unpack[EventFields]) -> Seen:
        """Say it, and return the mission when it is over, however it ended."""
        __tracebackhide__ = True
        return self.wait(self.say(text, **fields), seconds=seconds)

    def mission(self, mission_id: str) -> Seen:
        """Return a mission as it stands; raises `NotFound`."""
        return seen(self._portal.call(self._client.mission(mission_id)))

    def records(self, mission_id: str) -> list[Record]:
        """Return the records of a mission so far, in the order of the stream."""
        return self._portal.call(records_of(self._client, mission_id))

    def after_record(self, number: int, mission_id: str, seconds: float = WAIT_S) -> list[Record]:
        """Return when a mission has so many records: the moment at which a drill breaks something."""
        with self.explained(mission_id):
            return self._portal.call(follow_until(self._client, mission_id, TERMINAL, seconds, at_most=number))

    def cancel(self, mission_id: str, reason: str = "") -> None:
        """Ask for a mission to be cancelled; its outcome tells whether it was."""
        with self.explained(mission_id):
            self._portal.call(self._client.cancel(mission_id, reason))

    def stream(self, name: str) -> list[Stored]:
        """Return every message of a stream."""

        async def read() -> list[Stored]:
            return await whole_stream(await self._client.bus(), name)

        return self._portal.call(read())

    def until_journalled(self, seconds: float = WAIT_S) -> None:
        """Wait until the whiteboard has journalled all that the stream holds; raises `WaitOver`."""
        self._portal.call(journalled(self._client, seconds))

    def explain(self, error: BaseException, mission_id: str | None = None) -> None:
        """Let an exception carry what a reader of the failure needs: of that mission, or of those spoken of last."""
        if evidence.has_notes(error):
            return
        told = [mission_id] if mission_id else list(self.recent)
        sections = [section for mission in told for section in (self._told(mission), *self._why(mission))]
        evidence.add_notes(error, *sections, self._consumers(), *evidence.of_logs(self._backend))

    @contextmanager
    def explained(self, mission_id: str | None = None) -> Iterator[None]:
        """Let what is raised inside carry what a reader of the failure needs."""
        __tracebackhide__ = True
        try:
            yield
        except (MissionsError, AssertionError) as error:
            if not isinstance(error, NotFound):
                self.explain(error, mission_id)
            raise

    def _note(self, mission_id: str) -> None:
        with suppress(ValueError):
            self.recent.remove(mission_id)
        self.recent.append(mission_id)

    def _told(self, mission_id: str) -> str:
        try:
            return evidence.of_records(mission_id, self._soon(records_of(self._client, mission_id)))
        except (MissionsError, TimeoutError) as error:
            return f"-- missions: the records of mission {mission_id} cannot be read: {error!r}"

    def _why(self, mission_id: str) -> list[str]:
        """Return what the whiteboard says of a mission that is not over, where there is one that answers."""
        if self._backend.whiteboard_url is None:
            return []
        with suppress(MissionsError, TimeoutError):
            found = self._soon(self._client.why(mission_id))
            return [] if found["status"] in TERMINAL else [evidence.of_why(mission_id, found)]
        return []

    def _consumers(self) -> str:
        async def look() -> str:
            return await evidence.of_consumers(await self._client.bus(), self.queue)

        try:
            return self._soon(look())
        except (MissionsError, TimeoutError) as error:
            return f"-- missions: the consumers cannot be seen: {error!r}"

    def _soon(self, work: Coroutine[Any, Any, T]) -> T:
        """Ask what may not answer: a failure is not to wait for what a drill broke."""
        return self._portal.call(asyncio.wait_for(work, _EVIDENCE_WITHIN_S))
