"""A terminal record becomes the reply that tells how its mission ended; one that asks becomes the question."""

from __future__ import annotations

import msgspec

from contracts import codec, subjects
from contracts.errors import ContractError, Lost
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import StatusRecord
from contracts.questions import ASKING, asked_by
from contracts.topology import MISSIONS
from services.orchestrator import replies
from services.orchestrator.origins import Origin, Origins
from services.orchestrator.questions import Questions
from services.runtime.bus import Bus
from services.runtime.incoming import Incoming
from services.runtime.writer import Writer

_OPEN = frozenset(status.value for status in Status if status not in TERMINAL)


class _Peek(msgspec.Struct):
    status: str
    phase: str = ""


_peek = msgspec.json.Decoder(_Peek)


def goes_on(incoming: Incoming) -> bool:
    """Tell a record that leaves its mission open and asks nothing, by as little work as possible: most are such."""
    try:
        said = _peek.decode(incoming.data)
    except Exception:  # noqa: BLE001 - outside bytes, RecursionError too: whoever reads them properly says what is wrong
        return False
    return said.status in _OPEN and said.phase != ASKING


class Outcomes:
    """Watches the status records of all missions."""

    def __init__(self, bus: Bus, chat: Writer, origins: Origins) -> None:
        self._bus = bus
        self._chat = chat
        self._origins = origins
        self._questions = Questions(bus, chat)

    async def on_status(self, incoming: Incoming) -> None:
        """Create the one `result` or `error` reply of a mission that has ended; ask what a goal asks."""
        record = codec.decode_status(incoming.data)
        asked = asked_by(record)
        if record.status not in TERMINAL and asked is None:
            return
        place = subjects.parse_record(incoming.subject)
        if record.mission_id != place.mission_id:
            raise ContractError(f"a record of mission {record.mission_id} stands on {incoming.subject}")
        origin = self._origins.get(record.mission_id) or await self._look_up(place)
        if record.status in TERMINAL:
            await self._tell_outcome(record, origin)
        elif asked is not None:
            await self._questions.ask(record, asked, origin)

    async def _tell_outcome(self, record: StatusRecord, origin: Origin) -> None:
        reply = replies.outcome(record, origin)
        try:
            subject = subjects.reply(origin.conversation, record.mission_id, reply.kind)
            await self._chat.write(subject, codec.encode(reply), expected=0)
        except Lost:
            pass  # replied before: this is a redelivery
        self._origins.forget(record.mission_id)

    async def _look_up(self, place: subjects.RecordSubject) -> Origin:
        proposal = await self._bus.head(MISSIONS, subjects.proposed(place.queue, place.mission_id))
        if proposal is None:
            raise ContractError(f"mission {place.mission_id} ended and was never proposed on queue {place.queue}")
        return Origin.of(codec.decode_mission(proposal.data))
