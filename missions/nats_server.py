"""The embedded nats-server of `missions up`, the tests and the benchmarks: one child process, loopback only."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import urlsplit

from contracts.errors import SetupError
from missions.child import ChildProcess, dying_with_parent
from missions.nats_binary import SETTING, check_version, find_server
from missions.nats_config import HOST, render_config

__all__ = ["NatsServer", "check_version", "find_server"]

_POLL_S = 0.002
_READY_WITHIN_S = 60.0
_TAIL_BYTES = 8_192
_LOG_PREFIX = re.compile(r"^\[\d+\] \S+ \S+ \[[A-Z]{3}\] ")
_BUSY = re.compile(r":(\d+): bind: address already in use")


class NatsServer(ChildProcess):
    """A nats-server on `data_dir`, which holds its store, configuration and log; one server per directory.

    It ends with the thread that called `start`: call it from one that lives as long as the server must. Port 0 is a
    free one, kept over restarts. Every failure is a `SetupError` of one line.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        sync_always: bool = True,
        binary: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_file = log_file or self.data_dir / "nats.log"
        self.port = port  #: 0 until the first start, where a free one was asked for
        self.monitor_port = 0
        self._sync_always = sync_always
        self._binary = binary
        super().__init__("nats-server")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where `/varz` and `/healthz` are."""
        return f"http://{HOST}:{self.monitor_port}"

    def start(self) -> None:
        """Start the server and return when JetStream is ready; nothing happens where it runs already."""
        if self.running:
            return
        binary = self._binary or find_server(os.environ.get(SETTING))
        check_version(binary)
        try:
            log_start = self._launch(binary)
        except OSError as error:
            raise SetupError(f"nats-server cannot use {error.filename or self.data_dir}: {error.strerror}") from error
        self._wait_until_ready(log_start)

    def last_words(self) -> str:
        """Return the last line of its log."""
        return self._last_line(0)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same ports and store."""
        self.stop()
        self.start()

    def _launch(self, binary: Path) -> int:
        """Start the process; return where its part of the log begins."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(self.data_dir / "nats.lock") as lock, _private(self.log_file) as log:
            self._take(lock)
            config = self._write_config()
            log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - a checked binary, no shell
                dying_with_parent([binary, "--config", config]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],  # held by the server, so freed by its end
                start_new_session=True,  # Ctrl-C is for its owner, who ends it last
            )
        return log_start

    def _take(self, lock: BinaryIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                f"another nats-server uses {self.data_dir}: stop it, or choose another directory"
            ) from error

    def _write_config(self) -> Path:
        for stale in self.data_dir.glob("*.ports"):
            stale.unlink()
        with _private(self.data_dir / "nats.conf") as file:
            file.truncate(0)
            config = render_config(
                self.data_dir, port=self.port, monitor_port=self.monitor_port, sync_always=self._sync_always
            )
            file.write(config.encode())
        return self.data_dir / "nats.conf"

    def _wait_until_ready(self, log_start: int) -> None:
        """Wait for the file that the server writes when it listens, which it does after JetStream is up."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._read_ports():
            if not self.running:
                raise self._crashed(log_start)
            if time.monotonic() > deadline:
                self.kill()
                raise SetupError(f"nats-server was not ready within {_READY_WITHIN_S:.0f} s, see {self.log_file}")
            time.sleep(_POLL_S)

    def _read_ports(self) -> bool:
        for file in self.data_dir.glob("*.ports"):
            with suppress(ValueError):  # it is being written
                ports = json.loads(file.read_bytes())
                self.port, self.monitor_port = (urlsplit(ports[name][0]).port for name in ("nats", "monitoring"))
                return True
        return False

    def _crashed(self, log_start: int) -> SetupError:
        last = self._last_line(log_start)
        if busy := _BUSY.search(last):
            return SetupError(f"port {busy[1]} is in use: stop what listens there, or choose another port")
        return SetupError(f"nats-server did not start: {last} (see {self.log_file})")

    def _last_line(self, log_start: int) -> str:
        """Return the last line of its log, if it is of this start, without its time."""
        with self.log_file.open("rb") as log:
            log.seek(max(log_start, self.log_file.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return _LOG_PREFIX.sub("", next((line for line in reversed(lines) if line.strip()), "it said nothing"))


def _private(path: Path) -> BinaryIO:
    """Open a file of ours to append to, readable by its owner only."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
