"""`missions orchestrator | executor | whiteboard`: one service each, for production."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import click

from missions.cli.connection import nats_url_option
from missions.cli.parameters import PortNumber

Function = TypeVar("Function", bound=Callable[..., Any])


def service_options(function: Function) -> Function:
    """Add what every service can be told; the rest is MISSIONS_* settings."""
    function = click.option("--port", type=PortNumber(), metavar="PORT", help="Port for HTTP; 0 picks a free one.")(
        function
    )
    function = click.option("--host", help="Address for HTTP.  [default: 127.0.0.1]")(function)
    return nats_url_option(function)


def serve(name: str, *, host: str | None, port: int | None, **given: Any) -> None:
    """Run one service on its settings until a signal ends it, and exit with its code."""
    from services.runtime import process, settings

    loaded = settings.load(http_host=host, http_port=port, **given)
    module = import_module(f"services.{name}.service")
    sys.exit(process.run(module.serve, loaded, name))


@click.command()
@service_options
@click.option("--queues", metavar="A,B", help="Queues whose consumers it creates.  [default: default]")
def orchestrator(**given: Any) -> None:
    """Run an orchestrator: it reads chat events and proposes missions.

    Run as many as you like; they share the work. HTTP (port 8081) takes POST /chat/integrated.

    \b
    Example:
      missions orchestrator --nats-url nats://nats:4222 --host 0.0.0.0
    """
    serve("orchestrator", **given)


@click.command()
@service_options
@click.option("--goals", multiple=True, metavar="FILE|MODULE", help="Where your goals are; may be repeated.")
@click.option("--queues", metavar="A,B", help="Queues it serves.  [default: default]")
@click.option("--concurrency", type=int, help="Missions it owns at once.  [default: 200]")
def executor(goals: tuple[str, ...], **given: Any) -> None:
    """Run an executor: it runs the goals of missions.

    Run as many as you like; they share the work. HTTP (port 8082) has /livez, /readyz and /metrics.

    \b
    Example:
      missions executor --goals my_goals.py --queues default,gpu --concurrency 50
    """
    serve("executor", goals=goals or None, **given)


@click.command()
@service_options
@click.option("--data-dir", metavar="DIR", help="Where the journal is kept.  [default: missions-data]")
def whiteboard(**given: Any) -> None:
    """Run the whiteboard: it journals every record and answers over HTTP (port 8080).

    One per journal: a second one on the same directory refuses to start.

    \b
    Example:
      missions whiteboard --data-dir /var/lib/missions
    """
    serve("whiteboard", **given)
