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

from contracts.errors import SetupError
from missions.child import ChildProcess, dying_with_parent
from missions.ports import Port

_TAIL_BYTES = 8_192
_ASK_WITHIN_S = 1.0


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
        """Return why the service is not ready, or nothing when it is: what `/readyz` says."""
        host = "127.0.0.1" if self.port.host == "0.0.0.0" else self.port.host  # noqa: S104 - compared, not bound
        connection = http.client.HTTPConnection(host, self.port.number, timeout=_ASK_WITHIN_S)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return "" if answer.status == http.client.OK else answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()

    def log_tail(self) -> str:
        """Return the end of what this process logged since its last start."""
        with suppress(OSError), self.log_file.open("rb") as log:
            log.seek(max(self._log_start, self.log_file.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
        return ""


def last_words(log_tail: str) -> str:
    """Return what a log ends with, in one line: the error of the last JSON line, or else the last line."""
    last = next((line.strip() for line in reversed(log_tail.splitlines()) if line.strip()), "it said nothing")
    with suppress(ValueError, AttributeError):
        said = json.loads(last)
        return str(said.get("error") or said.get("event") or last)
    return last


def import_path(env: Mapping[str, str]) -> str:
    """Return the PYTHONPATH with which a child finds our packages, and not a `services` of the directory it is in."""
    ours = str(Path(__file__).resolve().parents[1])
    given = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place]
    installed = ours in {*site.getsitepackages(), site.getusersitepackages()}
    return os.pathsep.join(given if installed or ours in given else [ours, *given])
