"""Keeps schedules: one of a name is created, and never moved by a repeat."""

from __future__ import annotations

from services.orchestrator.deadlines import Schedule
from services.runtime import refusals
from services.runtime.bus import ApiError, Bus


async def keep(bus: Bus, schedule: Schedule) -> None:
    """Create a schedule; that there is one of its name already is as good. Raises `WriteError` where it is not kept."""
    try:
        await bus.publish_acked(schedule.subject, schedule.data, schedule.headers)
    except ApiError as error:
        if error.err_code not in refusals.WRONG_LAST_SEQ:
            raise refusals.error_of(schedule.subject, error) from error
