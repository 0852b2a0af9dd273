"""What the kind `command` may run: programs that MISSIONS_COMMANDS lists, by names of their own."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InvalidIdentifier, SetupError
from contracts.ids import check_token
from services.executor.context import Reject
from services.runtime import settings

SETTING = "MISSIONS_COMMANDS"
_HOW = f"for example {SETTING}='disk=/bin/df -h, lines=/usr/bin/wc -l -- ...' (...: and what the goal adds)"
_MORE = "..."
#: What a program may know of the environment, whatever the settings say; none of it is a secret.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")


@dataclass(frozen=True)
class Program:
    """One entry: the words that a command line begins with, and whether a goal may add words."""

    name: str
    argv: tuple[str, ...]
    takes_more: bool

    def command_line(self, more: Iterable[str]) -> list[str]:
        """Return the words to run; raises `Reject` where the goal may not add any."""
        added = list(more)
        if added and not self.takes_more:
            raise Reject(f"the command {self.name} takes no args: end its entry in {SETTING} with ... to allow them")
        if any("\0" in word for word in added):
            raise Reject("a word of a command line cannot hold a NUL")
        return [*self.argv, *added]


@dataclass(frozen=True)
class Programs:
    """Everything that may be run, and what it may know of the environment."""

    by_name: Mapping[str, Program]
    environment: tuple[str, ...] = _ENVIRONMENT

    @classmethod
    def parse(cls, entries: Iterable[str], environment: Iterable[str] = ()) -> Programs:
        """Read `name=/absolute/program word ...`; raises `SetupError` for what is no entry, or cannot be run."""
        programs = [_program(entry) for entry in entries]
        by_name = {program.name: program for program in programs}
        if len(by_name) < len(programs):
            raise SetupError(f"{SETTING}: a name stands twice")
        return cls(by_name, (*_ENVIRONMENT, *environment))

    def get(self, name: str) -> Program:
        """Return the program of a name; raises `Reject` saying how to allow it."""
        if not self.by_name:
            raise Reject(f"no command may be run yet: list them in {SETTING}, {_HOW}")
        if name not in self.by_name:
            raise Reject(f"the command {name!r} is not in {SETTING}; there are: {', '.join(sorted(self.by_name))}")
        return self.by_name[name]

    def environment_of(self, home: str) -> dict[str, str]:
        """Return the environment of a program that lives in `home`."""
        given = {name: os.environ[name] for name in self.environment if name in os.environ}
        return {"HOME": home, "TMPDIR": home, **given}


@functools.cache
def configured() -> Programs:
    """Return the programs of the settings, read once; raises `Reject` where those are wrong."""
    read = settings.load()
    try:
        return Programs.parse(read.commands, read.command_env)
    except SetupError as error:
        raise Reject(str(error)) from error


def _program(entry: str) -> Program:
    name, equals, line = entry.partition("=")
    try:
        check_token(name.strip(), "command")
        words = shlex.split(line)
    except (InvalidIdentifier, ValueError) as error:
        raise SetupError(f"{SETTING}: {entry!r}: {error}") from error
    more = words[-1:] == [_MORE]
    argv = tuple(words[:-1] if more else words)
    if not equals or not argv:
        raise SetupError(f"{SETTING}: {entry!r} is no entry: write name=/absolute/program and its words, {_HOW}")
    if not Path(argv[0]).is_absolute() or not os.access(argv[0], os.X_OK) or Path(argv[0]).is_dir():
        raise SetupError(f"{SETTING}: {argv[0]!r} is not the absolute path of a program")
    return Program(name.strip(), argv, more)
