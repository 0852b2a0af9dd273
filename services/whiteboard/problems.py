"""What goes wrong with a question, said so that whoever asked knows what to do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import MissionsError, NotFound
from services.runtime.problems import problem
from services.whiteboard.past import RecordsGone
from services.whiteboard.query import BadParameter, TooSlow

#: What the description of an answer says of it.
NO_MISSION = {404: "no mission has this id"}


class NotYet(MissionsError):
    """The whiteboard has not seen that sequence yet. Ask again."""


class Busy(MissionsError):
    """Others ask for so much that the turn of this question did not come."""


async def _on_bad_parameter(_: Request, error: Exception) -> Response:
    hint = error.hint if isinstance(error, BadParameter) else ""
    return problem(400, "Not understood", str(error), hint=hint)


async def _on_not_found(_: Request, error: Exception) -> Response:
    hint = "Ids are 26 characters, or a prefix of at least 6; GET /missions lists them, ?wait=10 waits for a new one"
    return problem(404, "No such mission", str(error), hint=hint)


async def _on_not_yet(_: Request, error: Exception) -> Response:
    hint = "Ask again; X-Sequence of every answer says how far it is"
    return problem(503, "Not seen yet", str(error), hint=hint, headers={"Retry-After": "1"})


async def _on_busy(_: Request, error: Exception) -> Response:
    return problem(503, "Too busy", str(error), hint="Ask again in a while", headers={"Retry-After": "5"})


async def _on_too_slow(_: Request, error: Exception) -> Response:
    hint = "The same question fails again: bound it by since and until, so that fewer missions are looked at"
    return problem(503, "Too slow", str(error), hint=hint)


async def _on_gone(_: Request, error: Exception) -> Response:
    hint = "Ask for a later time, or look at a backup of the journal"
    return problem(410, "Gone", str(error), hint=hint)


#: Errors that say more than the answers which every service has.
ERRORS = {
    BadParameter: _on_bad_parameter,
    NotFound: _on_not_found,
    NotYet: _on_not_yet,
    Busy: _on_busy,
    TooSlow: _on_too_slow,
    RecordsGone: _on_gone,
}
