"""The first moments of the command line, and what it does when its surroundings are odd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from contracts.errors import ContractError, SetupError
from missions.client import event_of
from missions.records import from_line
from missions.web import Web

MISSIONS = [sys.executable, "-m", "missions"]


def test_ctrl_c_while_it_loads_leaves_no_traceback() -> None:
    script = (
        "import builtins, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "load = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from missions.entry import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_whoever_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    script = "import signal; from missions.cli import cli; from missions.entry import main\n"
    script += "import sys; sys.argv[1:] = ['--version']\n"
    script += "try: main()\nfinally: print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False, preexec_fn=ignore)
    assert ended.stdout.strip().endswith(b"True")


@pytest.mark.parametrize("stdout", ["/dev/full", None])
def test_output_that_goes_nowhere_is_not_our_fault(stdout: str | None) -> None:
    redirect = f">{stdout}" if stdout else ">&-"
    command = f'"{sys.executable}" -m missions doctor --json --nats-url nats://127.0.0.1:9 {redirect}'
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=25, check=False, env=os.environ)
    assert b"our fault" not in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::1", "ftp://x", ""])
def test_what_is_no_url_is_a_setup_error(url: str) -> None:
    with pytest.raises(SetupError, match="not a URL"):
        Web(url)


@pytest.mark.parametrize("deadline", [float("inf"), float("nan")])
def test_a_deadline_is_a_number(deadline: float) -> None:
    with pytest.raises(ContractError, match="deadline"):
        event_of({"text": "x", "deadline_s": deadline})
    ended = subprocess.run(
        [*MISSIONS, "say", "x", "--deadline", str(deadline)], capture_output=True, timeout=20, check=False
    )
    assert ended.returncode == 2


def test_a_line_nested_too_deep_is_no_record() -> None:
    with pytest.raises(ContractError):
        from_line(b'{"seq":1,"time":"","subject":"a.b","data":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
