"""What can be wrong with a request: every kind of problem+json answer, in one table."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from starlette.responses import Response

from contracts.errors import ContractError, Gone, MissionsError, NotFound, StreamFull, TooLarge, WaitOver
from contracts.errors import WriteError as NotStored

MEDIA_TYPE = "application/problem+json"
#: Where each service explains its problems: `type` of an answer is this and the name.
FOLDER = "/problems/"


class Kind(Struct, frozen=True):
    """A kind of problem: its status and title, and what it means for whoever asked."""

    status: int
    title: str
    means: str

    @property
    def name(self) -> str:
        """The last part of its `type`, and its anchor in docs/errors.md."""
        return self.title.lower().replace(" ", "-")


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem; `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str = ""
    hint: str = ""


KINDS: tuple[Kind, ...] = (
    Kind(400, "Not understood", "The request breaks a rule; `detail` names it. The same request fails again."),
    Kind(400, "Unknown host", "The Host header names a host that is not answered for: see MISSIONS_HTTP_HOSTS."),
    Kind(401, "No token", "Tokens are configured, and the request carries none that is known."),
    Kind(403, "Not allowed", "The token is known and lacks the scope: `read` to ask, `write` to say something."),
    Kind(403, "Another site", "A browser sent it for a page of another site, which may not give orders here."),
    Kind(404, "No such mission", "No mission has this id, or one that begins so; a new one may not be known yet."),
    Kind(404, "No such artifact", "No record of the mission names it."),
    Kind(404, "Not found", "Nothing is at this path."),
    Kind(405, "Method not allowed", "The path exists; the header Allow says what may be done with it."),
    Kind(408, "Not yet", "What was waited for did not happen in time. Ask again."),
    Kind(408, "Too slow a body", "The body of the request did not arrive in time."),
    Kind(410, "Gone", "It was there, and was removed: an artifact, or the journal's records of that time."),
    Kind(413, "Too large", "The body is over the limit of a message."),
    Kind(500, "Failed", "Something went wrong that Missions understands; `detail` says what."),
    Kind(500, "Our fault", "A bug. The log of the service has the traceback."),
    Kind(503, "Not stored", "Nobody can tell whether it is stored. Repeat the same request, with the same id."),
    Kind(503, "No room", "The broker is full; nothing was stored."),
    Kind(503, "Not reachable", "The broker does not answer now. Ask again."),
    Kind(503, "Not seen yet", "The whiteboard has not seen that sequence yet. Ask again."),
    Kind(503, "Too busy", "So many ask at once that this question was not begun. Ask again."),
    Kind(503, "Too slow", "The question takes too long to answer: narrow it down with a filter."),
)
BY_TITLE: Mapping[str, Kind] = {kind.title: kind for kind in KINDS}
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}

#: Which of our errors is which problem; the first match counts.
TITLE_OF: tuple[tuple[type[MissionsError], str], ...] = (
    (TooLarge, "Too large"),
    (ContractError, "Not understood"),
    (Gone, "Gone"),
    (NotFound, "No such mission"),
    (WaitOver, "Not yet"),
    (StreamFull, "No room"),
    (NotStored, "Not stored"),
    (MissionsError, "Failed"),
)

_encode = msgspec.json.Encoder().encode


def problem(
    status: int, title: str, detail: str = "", *, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with an RFC 9457 problem; the title of a known kind gives it its type, `hint` says what to do."""
    kind = BY_TITLE.get(title)
    name = FOLDER + kind.name if kind else "about:blank"
    body = Problem(type=name, title=title, status=status, detail=detail, hint=hint)
    return Response(_encode(body), status, headers, media_type=MEDIA_TYPE)


def kind_of(error: type[MissionsError]) -> Kind:
    """Return the kind of problem that an error is."""
    return BY_TITLE[next(title for base, title in TITLE_OF if issubclass(error, base))]
