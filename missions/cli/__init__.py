"""The command line: `missions`. Each command is imported when it is called, so that `--help` stays fast."""

from __future__ import annotations

import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

import missions

#: Section -> command -> (where it is, what `missions --help` says).
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Try it": {
        "up": ("missions.cli.up:up", "Start NATS and the three services on this machine."),
        "demo": ("missions.cli.demo:demo", "Show and check what Missions does, in half a minute."),
    },
    "Ask": {
        "say": ("missions.cli.ask:say", "Say something in chat; --follow shows what becomes of it."),
        "list": ("missions.cli.ask:list_missions", "List missions, newest first."),
        "show": ("missions.cli.ask:show", "Show one mission."),
        "why": ("missions.cli.reasons:why", "Say why a mission is where it is."),
        "watch": ("missions.cli.ask:watch", "Watch one mission to its end, or everything."),
        "artifacts": ("missions.cli.artifacts:artifacts", "List what the goals of a mission kept."),
        "fetch": ("missions.cli.artifacts:fetch", "Fetch an artifact into a file."),
        "cancel": ("missions.cli.ask:cancel", "Ask for a mission to be cancelled."),
        "answer": ("missions.cli.answering:answer", "Answer what a mission asks."),
        "retry": ("missions.cli.answering:retry", "Retry a mission that failed."),
        "goals": ("missions.cli.goals:goals", "List the goal kinds that can be asked for."),
    },
    "Run": {
        "orchestrator": ("missions.cli.services:orchestrator", "Run an orchestrator: chat event in, mission out."),
        "executor": ("missions.cli.services:executor", "Run an executor: mission in, records out."),
        "whiteboard": ("missions.cli.services:whiteboard", "Run the whiteboard: journal, views, HTTP."),
    },
    "Operate": {
        "setup": ("missions.cli.admin:setup", "Create or check the streams and consumers."),
        "prune": ("missions.cli.prune:prune", "Remove missions that ended long ago."),
        "token": ("missions.cli.tokens:token", "Make a bearer token for HTTP."),
        "doctor": ("missions.cli.admin:doctor", "Find out what is wrong here."),
        "deadletters": ("missions.cli.deadletters:deadletters", "List what could not be understood."),
        "journal": ("missions.cli.journal:journal", "Check a journal, or make it, its index or the stream anew."),
    },
}
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_INTERRUPTED = 130
_CANNOT_WRITE = 74
_OUR_BUG = 70


class MissionsGroup(click.Group):
    """Knows its commands by name; turns every error into one line and an exit code that means something."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            ctx.fail(f"no such command: {args[0]}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)  # click would print an empty line
        except Exception as error:
            if ctx.params["debug"] and not isinstance(error, click.ClickException | click.exceptions.Exit):
                from traceback import print_exception

                print_exception(error)
            raise

    def main(self, *args: Any, **extra: Any) -> Any:
        sys.exit(self._guarded(*args, **{**extra, "standalone_mode": False}))

    def _guarded(self, *args: Any, **extra: Any) -> int:
        """Run, and return the exit code; what went wrong is said in one line on stderr."""
        try:
            code = super().main(*args, **extra)
        except click.ClickException as error:
            return _misused(error)
        except (KeyboardInterrupt, click.Abort):  # before or after the command itself
            return _INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the last place: nobody wants a traceback
            return _explain(error)
        return code if isinstance(code, int) else 0


def _misused(error: click.ClickException) -> int:
    """Say how the command line was misused; return its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "missions"
        said = error.format_message()
        click.echo(f"{path}: {said}{'' if said.endswith(('.', '?')) else '.'} Try: {path} --help", err=True)
    else:
        click.echo(f"missions: {error.format_message()}", err=True)
    return error.exit_code


def _explain(error: BaseException) -> int:
    """Say an error in one line; return its exit code."""
    from contracts.errors import MissionsError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MissionsError):
        click.echo(f"missions: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.filename is None:
        click.echo(f"missions: cannot write: {error.strerror or error}", err=True)
        return _CANNOT_WRITE
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    click.echo(f"missions: our fault: {text}. missions --debug … shows where", err=True)
    return _OUR_BUG


@click.command("missions", cls=MissionsGroup, context_settings=_CONTEXT)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.version_option(missions.__version__, prog_name="missions")
def cli(debug: bool) -> None:
    """Say it in chat, watch it on the whiteboard, trust what it says.

    \b
    Examples:
      missions up
      missions say "/run echo text=hi" --follow
      missions list --status failed
    """


def main() -> None:
    """Run the command line; from here on Ctrl-C is an exception that commands handle."""
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli(prog_name="missions")
