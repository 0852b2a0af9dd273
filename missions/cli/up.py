"""`missions up`: everything on this machine, in the foreground."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from missions.cli.output import json_option, program, talk
from missions.cli.parameters import PortNumber
from missions.entry import EndsAtOnce

if TYPE_CHECKING:
    from missions.reloading import Reloading
    from missions.stack import Stack

_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WHITEBOARD_PORT = 8080
_NATS_PORT = 4222


@click.command()
@click.option(
    "--data-dir", metavar="DIR", default="missions-data", envvar="MISSIONS_DATA_DIR", show_default=True,
    help="Where the broker's store, the journal and the logs are kept.",
)  # fmt: skip
@click.option(
    "--port", metavar="PORT", type=PortNumber(), default=_WHITEBOARD_PORT, show_default=True,
    help="The whiteboard's; the orchestrator and the executors get the next ones. 0: free ones.",
)  # fmt: skip
@click.option(
    "--nats-port", metavar="PORT", type=PortNumber(), default=_NATS_PORT, show_default=True,
    help="The broker's. 0: a free one.",
)  # fmt: skip
@click.option("--goals", multiple=True, metavar="FILE|MODULE", help="Where your goals are; may be repeated.")
@click.option("--executors", type=click.IntRange(1, 64), default=1, show_default=True, help="How many executors.")
@click.option("--reload", is_flag=True, help="Restart the executors when a file of your goals changes.")
@json_option
def up(  # noqa: PLR0913 - an argument for each option
    *, data_dir: str, as_json: bool, port: int, nats_port: int, goals: tuple[str, ...], executors: int, reload: bool
) -> int:
    """Start NATS and the three services on this machine, and keep them running until Ctrl-C.

    With --reload, a change of your goals is taken while everything runs: what runs is handed back and goes on. Goals
    that do not load are reported, and change nothing.

    With --json, prints one line when everything is ready: the URLs, the data directory and the process ids.

    \b
    Examples:
      missions up
      missions up --goals my_goals.py --executors 2
      missions up --goals my_goals.py --reload
      missions up --port 0 --nats-port 0 --data-dir /tmp/missions --json
    """
    began = time.monotonic()
    with EndsAtOnce():
        from missions.stack import Stack

    # Compiled files are told apart by the second: a second save within one would not be seen.
    env = {"PYTHONDONTWRITEBYTECODE": "1"} if reload else {}
    stack = Stack(Path(data_dir), port=port, nats_port=nats_port, goals=goals, executors=executors, env=env)
    return Foreground(stack, _reloading(stack) if reload else None).run(began, as_json)


def _reloading(stack: Stack) -> Reloading:
    from missions.reloading import Reloading

    if not stack.goals:
        raise click.UsageError("--reload needs --goals: there is nothing that could change.")
    return Reloading(stack, stack.goals, lambda text: talk(f"missions up: {text}"))


class Foreground:
    """A stack that lives until a signal: the first ends it in order, the second at once."""

    def __init__(self, stack: Stack, reloading: Reloading | None = None) -> None:
        self._stack = stack
        self._reloading = reloading
        self._signal = 0
        self._over = threading.Event()
        self._starting = True

    def run(self, began: float, as_json: bool) -> int:
        """Start, say what is where, wait for a signal, stop; return the exit code."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._on_signal)
        try:
            if self._reloading:
                self._reloading.start()
            self._stack.start()
            if self._reloading:
                self._reloading.begin()
            self._starting = False
            announce(self._stack, time.monotonic() - began, as_json)
            self._over.wait()
        except _Interrupted:
            pass  # while it was starting
        finally:
            if self._signal and not as_json:
                talk("Stopping; missions that run now go on when this directory is started again.")
            if self._reloading:
                self._reloading.stop()
            self._stack.stop()
        return _INTERRUPTED if self._signal == signal.SIGINT else 0

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._signal:
            self._end_at_once()
        self._signal = number
        self._over.set()
        if self._starting:
            raise _Interrupted

    def _end_at_once(self) -> NoReturn:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._stack.kill_all()
        os._exit(_INTERRUPTED)


class _Interrupted(BaseException):
    """A signal came before everything was ready."""


def announce(stack: Stack, seconds: float, as_json: bool) -> None:
    """Say what is where and what to try next; as JSON: one line."""
    if as_json:
        import json

        click.echo(json.dumps(stack.describe()))
        return
    click.echo(f"Missions is up, {seconds:.1f} s after it was called.\n")
    for name, place in places(stack).items():
        click.echo(f"  {name:<14}{place}")
    talk("\nTry, in another terminal:")
    for command in suggestions(stack):
        talk(f"  {command}")
    talk(f"\nCtrl-C ends everything; the next `{program()} up` on this directory goes on where this one stopped.")


def places(stack: Stack) -> dict[str, str]:
    """Return what is where."""
    return {
        "whiteboard": stack.whiteboard_url,
        "orchestrator": stack.orchestrator_url,
        "NATS": stack.nats_url,
        "NATS monitor": stack.monitor_url,
        "journal": str(stack.journal),
        "logs": str(stack.log_file("nats").parent),
    }


def suggestions(stack: Stack) -> list[str]:
    """Return commands that work here as they stand."""
    usual = stack.nats_url.endswith(f":{_NATS_PORT}") and stack.whiteboard_url.endswith(f":{_WHITEBOARD_PORT}")
    export = f"export NATS_URL={stack.nats_url} MISSIONS_WHITEBOARD_URL={stack.whiteboard_url}"
    chat = """-d '{"message": "/run echo text=hi"}'"""
    return [
        *([] if usual else [export]),
        f'{program()} say "/run echo text=hi" --follow',
        f"curl -s {stack.orchestrator_url}/chat/integrated {chat}",
        f"curl -s {stack.whiteboard_url}/missions",
        f"tail -F {stack.journal}",
        f"{program()} doctor --monitor-url {stack.monitor_url}",
    ]
