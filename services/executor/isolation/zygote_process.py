"""The zygote as its executor sees it: started with exec, given little, and dead the moment its executor is."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from contracts.errors import SetupError
from services.executor.isolation import frames
from services.executor.isolation.frames import Begin, Begun, Ended, Ready, Source, Unready
from services.runtime.settings import Settings

log = structlog.get_logger()

BEGIN_WITHIN_S = 30.0
_START_WITHIN_S = 60.0
_END_WITHIN_S = 3.0
#: Finds modules where its executor does, without a PYTHONPATH that the programs of handlers would inherit.
#: `missions` makes ours found beside a package of the user's that is called `services` too.
_MAIN = (
    "import sys; sys.path[:] = sys.argv[2:]; import missions; from services.executor.isolation.zygote import main; "
    "sys.exit(main(int(sys.argv[1])))"
)
#: What the processes of handlers inherit from the environment, beside what the settings name.
_INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHASHSEED",
    "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


class Zygote:
    """A running zygote. `on_ended` hears of every try whose process is over, also of those that it takes along."""

    def __init__(self, settings: Settings, on_ended: Callable[[Ended], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="missions-handlers-"))
        self.alive = True
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._pids: dict[int, int] = {}  #: process ids of tries that run, by number; 0 before it is known
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._process = _spawn(theirs, settings)
        self._loop.add_reader(self._control, self._on_message)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def start(self, sources: Iterable[Source]) -> None:
        """Have it import the goals; raises `SetupError`, and is over then, where it cannot."""
        sources = tuple(sources)
        try:
            self._control.send(frames.encode(frames.SetUp(sources, str(self.folder))))
            async with asyncio.timeout(_START_WITHIN_S):
                ready = await self._ready
        except TimeoutError:
            raise SetupError(_too_slow(sources)) from None
        finally:
            if not self._ready.done() or self._ready.cancelled() or self._ready.exception():
                self.close()
        if ready.threads > 1:
            log.warning("zygote_has_threads", threads=ready.threads, hint="importing goals should start no threads")

    def begin(self, message: Begin, descriptors: list[int]) -> None:
        """Start the process of a try; raises `OSError` where the zygote does not listen."""
        socket.send_fds(self._control, [frames.encode(message)], descriptors)
        self._pids[message.number] = 0
        self._loop.call_later(BEGIN_WITHIN_S, self._check_begun, message.number)

    def kill(self, number: int) -> None:
        """End the process of a try; `on_ended` tells when it is."""
        try:
            self._control.send(frames.encode(frames.Kill(number)))
        except OSError:
            self.destroy()

    def destroy(self) -> None:
        """Kill a zygote that does not answer; the processes of its tries die with it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._is_gone()

    def close(self) -> None:
        """Let it end, with everything that it started."""
        if not self.alive:
            return
        self._let_go()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget("the executor stops")

    def _check_begun(self, number: int) -> None:
        """Kill a zygote that starts nothing: a handler may have stopped it."""
        while self.alive and self._on_message():
            continue
        if self.alive and self._pids.get(number) == 0:
            log.error("zygote_hangs", pid=self.pid)
            self.destroy()

    def _on_message(self) -> bool:
        """Take one message; return whether there was one."""
        try:
            data = self._control.recv(frames.MAX_CONTROL_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        message = frames.decode_from_zygote(data) if data else None
        if isinstance(message, Ready):
            self._ready.set_result(message)
        elif isinstance(message, Unready):
            self._ready.set_exception(SetupError(_not_imported(message.message)))
        elif isinstance(message, Begun):
            self._pids[message.number] = message.pid
        elif isinstance(message, Ended):
            self._pids.pop(message.number, None)
            self._on_ended(message)
        else:
            self._is_gone()
        return True

    def _is_gone(self) -> None:
        """Clean up after a zygote that died by itself: it can no longer kill what its tries had forked."""
        if not self.alive:
            return
        self._let_go()
        self._process.kill()
        code = self._process.wait()
        log.error("zygote_died", pid=self.pid, exit_code=code, running=len(self._pids))
        if not self._ready.done():
            self._ready.set_exception(SetupError(_not_imported(f"the process ended with {code}")))
        self._forget("the process that starts handlers died")

    def _forget(self, why: str) -> None:
        """End what is left of its tries, and say so."""
        for number, pid in self._pids.items():
            if pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            self._on_ended(Ended(number, problem=why))
        self._pids.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _let_go(self) -> None:
        self.alive = False
        self._loop.remove_reader(self._control)
        self._control.close()


def _spawn(theirs: socket.socket, settings: Settings) -> subprocess.Popen[bytes]:
    """Start the process from this thread, with whose end it ends."""
    path = [str(Path(folder or ".").resolve()) for folder in sys.path]
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", _MAIN, str(theirs.fileno()), *path],
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        env=environment(settings, os.environ),
        start_new_session=True,
    )


def environment(settings: Settings, ours: Iterable[str] | None = None) -> dict[str, str]:
    """Return what handlers' processes inherit: no setting and no secret of ours, unless the settings name it."""
    wanted = {*_INHERITED, *settings.handler_env}
    names = os.environ if ours is None else ours
    return {name: os.environ[name] for name in names if name in wanted or name.startswith("LC_")}


def _too_slow(sources: Iterable[Source]) -> str:
    """Say that the goals are still being imported; a program that is its own file of goals may be running again."""
    programs = sorted({source.file for source in sources if source.module == "__main__"})
    hint = f': what {", ".join(programs)} does belongs below `if __name__ == "__main__":`' if programs else ""
    return f"the goals were not imported in a child process within {_START_WITHIN_S:g} s{hint}"


def _not_imported(why: str) -> str:
    return (
        f"goals with isolation='process' cannot be imported in a child process: {why} "
        "(it has few environment variables: MISSIONS_HANDLER_ENV names more)"
    )
