"""How a command reaches NATS and the whiteboard."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from missions.client import Client
    from missions.whiteboard import Whiteboard
    from services.runtime.settings import Settings

#: A person waits: half a minute of trying says no more than two seconds do.
_CONNECT_S = 2.0

nats_url_option = click.option(
    "--nats-url", metavar="URL", help="NATS to use; else MISSIONS_NATS_URL, NATS_URL, the nats context, port 4222 here."
)
whiteboard_url_option = click.option(
    "--whiteboard-url", metavar="URL", help="The whiteboard; else MISSIONS_WHITEBOARD_URL, port 8080 here."
)


token_file_option = click.option(
    "--token-file", metavar="FILE", help="The token to send; else MISSIONS_TOKEN_FILE, or MISSIONS_TOKEN itself."
)


def settings(**given: Any) -> Settings:
    """Read the settings for a command that a person waits for."""
    from services.runtime.settings import load

    return load(**{"connect_s": patience(), **given})


def patience() -> float | None:
    """Return how long to try to connect, where no setting says so."""
    return None if "MISSIONS_CONNECT_S" in os.environ else _CONNECT_S


def broker_client(nats_url: str | None) -> Client:
    """Return a client that reads missions on the broker."""
    from missions.client import Client

    quiet_logs()
    return Client(nats_url, connect_s=patience())


def whiteboard(whiteboard_url: str | None, token_file: str | None = None) -> Whiteboard:
    """Return the whiteboard that is named here or in the settings; nothing of NATS is imported for it."""
    from missions.whiteboard import Whiteboard
    from services.runtime.settings import token_of

    found = settings(whiteboard_url=whiteboard_url, token_file=token_file)
    return Whiteboard(found.whiteboard_url, token_of(found))


def quiet_logs() -> None:
    """Let only errors of the runtime reach stderr: a command says itself what went wrong."""
    import structlog

    logging.getLogger("nats").setLevel(logging.CRITICAL)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
