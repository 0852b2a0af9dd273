"""A terminal record becomes the reply that tells the conversation how its mission ended."""

from __future__ import annotations

import msgspec

from contracts import codec, subjects
from contracts.errors import ContractError, Lost
from contracts.lifecycle import TERMINAL, Status
from contracts.topology import MISSIONS
from services.orchestrator import replies
from services.orchestrator.origins import Origin, Origins
from services.runtime.bus import Bus
from services.runtime.incoming import Incoming
from services.runtime.writer import Writer

_OPEN = frozenset(status.value for status in Status if status not in TERMINAL)


class _Peek(msgspec.Struct):
    status: str


_peek = msgspec.json.Decoder(_Peek)


def goes_on(incoming: Incoming) -> bool:
    """Tell a record that leaves its mission open, by as little work as possible: most records are such."""
    try:
        return _peek.decode(incoming.data).status in _OPEN
    except Exception:  # noqa: BLE001 - outside bytes, RecursionError too: whoever reads them properly says what is wrong
        return False


class Outcomes:
    """Watches the status records of all missions."""

    def __init__(self, bus: Bus, chat: Writer, origins: Origins) -> None:
        self._bus = bus
        self._chat = chat
        self._origins = origins

    async def on_status(self, incoming: Incoming) -> None:
        """Create the one `result` or `error` reply of a mission that has ended."""
        record = codec.decode_status(incoming.data)
        if record.status not in TERMINAL:
            return
        place = subjects.parse_record(incoming.subject)
        if record.mission_id != place.mission_id:
            raise ContractError(f"a record of mission {record.mission_id} stands on {incoming.subject}")
        origin = self._origins.get(record.mission_id) or await self._look_up(place)
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
