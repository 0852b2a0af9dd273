"""What the tests of documentation and examples share: blocks of Markdown, and programs run as a reader runs them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from missions.stack import Stack

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, what else its first line says, and its text."""

    language: str
    about: str
    text: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return every block of these languages on a page."""
    found = [(*info.partition(" "), text) for info, text in _BLOCK.findall(page.read_text())]
    return [Block(language, about, text) for language, _, about, text in found if language in languages]


def environment(stack: Stack, commands: Path | None = None) -> dict[str, str]:
    """Return the environment of a reader who uses this stack; `commands` is where `missions` is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MISSIONS_", "NATS_"))}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([*([str(commands)] if commands else []), os.environ["PATH"]]),
        "NATS_URL": stack.nats_url,
        "MISSIONS_WHITEBOARD_URL": stack.whiteboard_url,
        "WHITEBOARD_URL": stack.whiteboard_url,
        "ORCHESTRATOR_URL": stack.orchestrator_url,
    }


def put_missions_in(folder: Path) -> Path:
    """Make a `missions` command, of this tree whatever is installed, and return the folder."""
    folder.mkdir(exist_ok=True)
    script = folder / "missions"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m missions "$@"\n')
    script.chmod(0o755)
    return folder


def ran(command: list[str], stack: Stack, *, cwd: Path, commands: Path | None = None, within_s: float = 25) -> str:
    """Run a program to its end and return what it printed; fails where the program does."""
    env = environment(stack, commands)
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=within_s, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
