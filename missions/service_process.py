"""One service as a child process: its command line, environment, log and readiness."""

from __future__ import annotations

import http.client
import json
import os
import site
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from contracts.errors import SetupError
from missions.child import ChildProcess, dying_with_parent
from missions.ports import Port

_TAIL_BYTES = 8_192
_TROUBLE = frozenset({"error", "critical"})
_ASK_WITHIN_S = 1.0
_MOST_SAID_BYTES = 65_536


class ServiceProcess(ChildProcess):
    """One of our services on `port`, logging to `log_file`. It ends with the thread that called `start`."""

    def __init__(self, service: str, port: Port, env: Mapping[str, str], log_file: Path) -> None:
        self.port = port
        self.log_file = log_file
        self._command = [sys.executable, "-P", "-m", "missions.serve", service]
        self._env = {**env, "MISSIONS_HTTP_HOST": port.host, "MISSIONS_HTTP_PORT": str(port.number)}
        self._log_start = 0
        super().__init__(f"services.{service}")

    def start(self) -> None:
        """Start the process, without waiting for it to be ready; raises `SetupError`."""
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                    dying_with_parent(self._command),
                    env=self._env | {"PYTHONPATH": import_path(self._env)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for its owner, who ends it in order
                )
        except OSError as error:
            raise SetupError(f"cannot start {self._what}: {error}") from error

    def unready(self) -> str:
        """Return why the service is not ready, or nothing when it is: what `/readyz` says, and nobody else's."""
        process = self._process
        if process is None or not self.running:
            return self.how_it_ended()
        host = "127.0.0.1" if self.port.host == "0.0.0.0" else self.port.host  # noqa: S104 - compared, not bound
        connection = http.client.HTTPConnection(host, self.port.number, timeout=_ASK_WITHIN_S)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            said = answer.read(_MOST_SAID_BYTES)
            if answer.status != http.client.OK:
                return said.decode(errors="replace")
            return "" if _speaker(said) == process.pid else f"somebody else answers on port {self.port.number}"
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()

    def last_words(self) -> str:
        """Return the error that it logged last, or else what it logged last."""
        return last_words(self.log_tail())

    def log_tail(self) -> str:
        """Return the end of what this process logged since its last start."""
        with suppress(OSError), self.log_file.open("rb") as log:
            log.seek(max(self._log_start, self.log_file.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
        return ""


def last_words(log_tail: str) -> str:
    """Return what a log ends with, in one line: its last error, or a last line that is no JSON, or its last event."""
    lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    # what is no JSON is of something that failed, such as a traceback
    said = [logged(line) or {"level": "critical", "event": line} for line in lines]
    last = next((entry for entry in reversed(said) if entry.get("level") in _TROUBLE), said[-1])
    return str(last.get("error") or last.get("event") or lines[-1])


def logged(line: str) -> dict[str, Any] | None:
    """Return what a line of a service's log says; None for one that is no JSON object."""
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return None


def _speaker(said: bytes) -> int:
    """Return the process id that an answer of `/readyz` names; 0 where it is none of ours."""
    with suppress(ValueError, TypeError, KeyError):
        return int(json.loads(said)["pid"])
    return 0


def import_path(env: Mapping[str, str]) -> str:
    """Return the PYTHONPATH with which a child finds our packages, and not a `services` of the directory it is in."""
    ours = str(Path(__file__).resolve().parents[1])
    given = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place]
    installed = ours in {*site.getsitepackages(), site.getusersitepackages()}
    return os.pathsep.join(given if installed or ours in given else [ours, *given])
