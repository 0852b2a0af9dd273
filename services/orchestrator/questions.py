"""A goal asks: its conversation is told, and the time for an answer begins to run."""

from __future__ import annotations

from contracts import codec, subjects
from contracts import headers as names
from contracts.messages import StatusRecord
from contracts.questions import Asked
from services.orchestrator import deadlines, replies, schedules
from services.orchestrator.origins import Origin
from services.runtime.bus import Bus
from services.runtime.writer import Writer


class Questions:
    """Where the questions of goals go out. What is repeated here stands once: the broker knows schedule and reply."""

    def __init__(self, bus: Bus, chat: Writer) -> None:
        self._bus = bus
        self._chat = chat

    async def ask(self, record: StatusRecord, asked: Asked, origin: Origin) -> None:
        """Store the expiry of a question, then the reply that asks it."""
        if asked.question.expires_at is not None:
            await schedules.keep(
                self._bus,
                deadlines.question_expiry(record.mission_id, asked, asked.question.expires_at, origin.conversation),
            )
        subject = subjects.reply(origin.conversation, record.mission_id, "question")
        reply = replies.question(record, asked, origin)
        headers = {names.MSG_ID: f"question/{asked.event_id}"}
        await self._chat.write(subject, codec.encode(reply), expected=None, headers=headers)
