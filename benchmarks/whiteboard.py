"""A real whiteboard over a board that was made offline, on a broker whose stream goes on where the journal ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any, Self

from benchmarks import board
from contracts import topology
from missions import ports
from missions.nats_server import NatsServer
from services.runtime import streams
from services.runtime.bus import Bus
from services.runtime.settings import Settings
from services.whiteboard.index import Index
from services.whiteboard.journal import Journal
from services.whiteboard.record import RESTORED

_MIB = 1024 * 1024
_READY_WITHIN_S = 120.0
_PUBLISHED_AT_ONCE = 10
_PAUSE_S = 0.01


class Served:
    """The whiteboard of a folder, ready when it is entered; `ready_s` says how long that took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready_s = 0.0
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            store = parts.enter_context(tempfile.TemporaryDirectory())
            self.nats_url = parts.enter_context(NatsServer(Path(store))).url
            asyncio.run(_belong(self.nats_url, self.folder))
            self._start(parts)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._parts.close()

    def _start(self, parts: ExitStack) -> None:
        (port,) = ports.take("127.0.0.1", 0, 1)
        self.port = port.number
        port.release()
        environment = os.environ | {
            "MISSIONS_NATS_URL": self.nats_url,
            "MISSIONS_DATA_DIR": str(self.folder),
            "MISSIONS_HTTP_PORT": str(self.port),
            "MISSIONS_LOG_LEVEL": "error",
        }
        began = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, "-m", "services.whiteboard"], env=environment)
        parts.callback(self._end)
        self._connection = parts.enter_context(closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)))
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() > began + _READY_WITHIN_S:
                raise SystemExit(f"the whiteboard was not ready within {_READY_WITHIN_S:.0f} s")
            time.sleep(0.02)
        self.ready_s = time.perf_counter() - began

    def _is_ready(self) -> bool:
        try:
            self._connection.request("GET", "/readyz")
            answer = self._connection.getresponse()
            answer.read()
        except OSError:
            self._connection.close()
            return False
        return answer.status == http.HTTPStatus.OK

    def _end(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def get(self, path: str) -> Any:
        """Ask one question."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return json.loads(body)

    def rss_mb(self) -> float:
        """Return the memory that it holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    async def publish(self, records: int) -> None:
        """Publish so many records to the stream, a few at a time."""
        messages = islice(board.messages(records), records)
        bus = await Bus.connect(Settings(nats_url=self.nats_url), "bench")
        try:
            while part := list(islice(messages, _PUBLISHED_AT_ONCE)):
                await asyncio.gather(*(bus.publish_acked(*message) for message in part))
                await asyncio.sleep(_PAUSE_S)
        finally:
            await bus.close()


async def _belong(url: str, folder: Path) -> None:
    """Make a stream that goes on where the journal ends, as after a restore, and have the journal say so."""
    with (
        closing(Journal.open(folder / "journal", board.Unsynced())) as journal,
        closing(Index.open(folder / "index.sqlite", journal)) as index,
    ):
        bus = await Bus.connect(Settings(nats_url=url), "setup")
        spec = next(stream for stream in topology.STREAMS if stream.name == topology.MISSIONS)
        made = await bus.api(f"STREAM.CREATE.{spec.name}", spec.config | {"first_seq": journal.last_seq + 1})
        await streams.create(bus, ("default",), topology.DEFAULT_LEASE_S)
        await bus.close()
        index.apply([journal.note(RESTORED, journal.last_seq, {"created": made["created"]})])
