"""The zygote: a small process that imports the goals once and forks for each try. It has one thread, so it may fork.

Its executor starts it with exec, speaks to it over a socket, and never shares more than that. When the executor is
gone, however that came, the zygote ends every handler and itself.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from services.executor.importing import importing
from services.executor.isolation import child, frames, linux
from services.executor.isolation.frames import Begin, Ended, Kill, SetUp, Source
from services.executor.loading import from_file
from services.executor.registry import Handler, Registry

#: How often to look for what a handler left behind, which may fork while it is looked for; then the next end looks.
_ROUNDS = 100
_ROUND_S = 0.001
_END_WITHIN_S = 2.0


def main(descriptor: int) -> int:
    """Run a zygote on the socket that it inherited, until its executor is gone."""
    linux.signal_when_parent_dies(signal.SIGTERM)
    linux.adopt_orphans()
    control = socket.socket(fileno=descriptor)
    data = control.recv(frames.MAX_CONTROL_BYTES)
    setup = frames.decode_to_zygote(data) if data else None
    if not isinstance(setup, SetUp):
        return os.EX_SOFTWARE
    try:
        handlers = {handler.kind: handler for handler in load(setup.sources)}
    except Exception as error:  # noqa: BLE001 - user code
        control.send(frames.encode(frames.Unready(f"{type(error).__name__}: {error}"[:2_000])))
        return os.EX_CONFIG
    gc.freeze()  # what is shared with the handlers' processes stays so
    control.send(frames.encode(frames.Ready(linux.threads())))
    Zygote(control, handlers).serve()
    shutil.rmtree(setup.folder, ignore_errors=True)
    return os.EX_OK


def load(sources: tuple[Source, ...]) -> Registry:
    """Find the functions of all kinds again; raises what importing them raises."""
    registry = Registry()
    for source in sources:
        found: Any = _module(source)
        for part in source.name.split("."):
            found = getattr(found, part)
        registry.add(found)
    return registry


def _module(source: Source) -> ModuleType:
    """Import a module by its name; a file of goals, a script or what only a test runner finds, by its file."""
    if source.module in sys.modules and source.module != "__main__":
        return sys.modules[source.module]
    if source.module == "__main__" or not _is_found(source.module):
        return from_file(Path(source.file))
    with importing(source.file):
        return importlib.import_module(source.module)


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class Zygote:
    """The processes of all tries that run now."""

    def __init__(self, control: socket.socket, handlers: dict[str, Handler]) -> None:
        self._control = control
        self._handlers = handlers
        self._numbers: dict[int, int] = {}  #: of tries, by process id
        self._ending = False
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)

    def serve(self) -> None:
        """Do what the executor says until it is gone, then end everything."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._take)
            selector.register(self._woken, selectors.EVENT_READ, self._drain)
            while not self._ending:
                for key, _ in selector.select():
                    key.data()
                self._reap()
            self._end_all()

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def _take(self) -> None:
        """Do one thing that the executor says; when it is gone, that is the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, frames.MAX_CONTROL_BYTES, 2)
        except OSError:
            data, descriptors = b"", []
        message = frames.decode_to_zygote(data) if data else None
        if isinstance(message, Begin):
            self._begin(message, descriptors)
        elif isinstance(message, Kill):
            for pid in [pid for pid, number in self._numbers.items() if number == message.number]:
                _kill(pid)
        else:
            self._ending = True

    def _begin(self, message: Begin, descriptors: list[int]) -> None:
        stream, output = descriptors
        own_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._say(Ended(message.number, problem=f"cannot fork: {error}"))
        else:
            if pid == 0:
                self._become_handler(message, stream, output, own_pid)
            self._numbers[pid] = message.number
            self._say(frames.Begun(message.number, pid))
        os.close(stream)
        os.close(output)

    def _become_handler(self, message: Begin, stream: int, output: int, parent: int) -> None:
        """Let go, in the forked process, of what is the zygote's, and do the try; does not return."""
        signal.set_wakeup_fd(-1)
        for end in (self._control, self._woken, self._wake):
            end.close()
        child.run(socket.socket(fileno=stream), output, message, self._handlers, parent)

    def _reap(self) -> None:
        """Take leave of processes that are over: tries with all they left behind, and strays."""
        ended = []
        while (over := _next_over()) is not None:
            number = self._numbers.pop(over, None)
            if number is not None:
                _kill(over)  # its group: the id cannot be another's before it is reaped
            _, status, usage = os.wait4(over, 0)
            if number is not None:
                code = os.waitstatus_to_exitcode(status)
                ended.append(Ended(number, exit_code=code, cpu_s=usage.ru_utime + usage.ru_stime))
        if ended:
            self._end_strays()
        for message in ended:
            self._say(message)

    def _end_strays(self) -> None:
        """Kill what tries that are over have left; the orphans of those that run are children of these."""
        for _ in range(_ROUNDS):
            strays = [pid for pid in linux.children() if pid not in self._numbers]
            if not strays:
                return
            for pid in strays:
                _kill(pid)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
            time.sleep(_ROUND_S)

    def _end_all(self) -> None:
        until = time.monotonic() + _END_WITHIN_S
        while (pids := linux.children()) and time.monotonic() < until:
            for pid in pids:
                _kill(pid)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
            time.sleep(_ROUND_S)

    def _say(self, message: frames.FromZygote) -> None:
        try:
            self._control.send(frames.encode(message))
        except OSError:
            self._ending = True


def _next_over() -> int | None:
    """Return a child that is over and not yet reaped."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill(pid: int) -> None:
    """Kill a process of ours that is not reaped yet, and its group if it leads one."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
