"""One try in a process of its own: what runs between the fork and the end of it."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import itertools
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from msgspec import Raw

from services.executor import call, failing, result, runner
from services.executor.isolation import frames, linux
from services.executor.isolation.frames import Begin, FromHandler, Job, Limits, StopWish
from services.executor.registry import Handler
from services.executor.reports.asking import suspension
from services.executor.reports.line import Facts, Said
from services.executor.reports.saves import Checkpointed, NotSaved, Save, settle
from services.runtime.process import new_event_loop

_MB = 1024 * 1024
#: What is left of the address space for saying that there was no more.
_MEMORY_RESERVE = 64 * _MB
_FILES = 1024
#: Holds for all processes of a user together, and not for root: a fork bomb ends here.
_PROCESSES = 4096
_MAX_TRACEBACK = 8_000
_EX_SOFTWARE = 70
#: Another thread may have heard the answer that one waits for.
_LISTEN_S = 0.05


class StreamLine:
    """The handler's end of the line, where its executor is another process. Usable from any thread."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._stopped = False
        self._unframer = frames.Unframer(frames.decode_to_handler)
        self._speaking, self._hearing = threading.Lock(), threading.Lock()
        self._numbers = itertools.count()
        self._saving: dict[int, Save] = {}

    def fileno(self) -> int:
        """Return the descriptor, for whoever waits for a word."""
        return self._stream.fileno()

    @property
    def stopped(self) -> bool:
        """Whether the handler was asked to stop; the stream is looked at when somebody wants to know."""
        if not self._stopped:
            self._hear()
        return self._stopped

    def _hear(self) -> None:
        """Take in what the executor has said since, without waiting; one that is gone wants nothing more."""
        with self._hearing:
            try:
                data = self._stream.recv(frames.MAX_CONTROL_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                data = None
            for word in self._unframer.feed(data or b""):
                if isinstance(word, frames.Settled) and (save := self._saving.pop(word.number, None)):
                    settle([save], NotSaved(word.problem) if word.problem else None)
                self._stopped = self._stopped or isinstance(word, StopWish)
            self._stopped = self._stopped or data == b""
            if self._stopped:
                settle(list(self._saving.values()), NotSaved("this try is over"))
                self._saving.clear()

    def tell(self, said: Said) -> None:
        """Say something to the executor."""
        self.send(frames.Told(said))

    def save(self, saved: Checkpointed) -> Future[None]:
        """Say what must be kept; the answer is heard by `wait`, or by whoever reads the stream."""
        saving: Future[None] = Future()
        number = next(self._numbers)
        with self._hearing:
            self._saving[number] = (saved, saving)
        self.send(frames.Saving(number, saved))
        return saving

    def wait(self, saving: Future[None]) -> None:
        """Listen until it is stored; raises `NotSaved`."""
        while not saving.done():
            select.select([self._stream], [], [], _LISTEN_S)
            self._hear()
        saving.result()

    def send(self, message: FromHandler) -> None:
        """Send one message whole; raises `ValueError` where it is too large."""
        data = frames.framed(message)
        if len(data) > frames.MAX_FRAME_BYTES:
            raise ValueError(f"{len(data)} bytes at once, {frames.MAX_FRAME_BYTES} may leave a handler's process")
        with self._speaking:
            self._stream.sendall(data)


def run(stream: socket.socket, output: int, begin: Begin, handlers: Mapping[str, Handler], parent: int) -> None:
    """Do one try in the process that was just forked, and end it."""
    code = _EX_SOFTWARE
    try:
        _settle_in(output, begin.folder, parent)
        job = read_job(stream)
        _limit(begin.limits)
        _do(job, handlers[job.kind], StreamLine(stream), begin.limits)
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may go back into the zygote
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def read_job(stream: socket.socket) -> Job:
    """Read the first frame, and not a byte more."""
    head = stream.recv(frames.HEAD_BYTES, socket.MSG_WAITALL)
    job = frames.decode_to_handler(stream.recv(frames.length_of(head), socket.MSG_WAITALL))
    if not isinstance(job, Job):
        raise frames.Garbled("the first word is no job")
    return job


def _settle_in(output: int, folder: str, parent: int) -> None:
    """Make this process one of its own: session, death, orphans, privileges, output, working directory."""
    linux.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(_EX_SOFTWARE)
    os.setsid()
    linux.adopt_orphans()
    linux.refuse_new_privileges()
    linux.be_first_to_go()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable(file=2)
    os.chdir(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = folder


def _limit(limits: Limits) -> None:
    memory, cpu = int(limits.memory_mb * _MB), max(1, round(limits.cpu_s))
    _lower(resource.RLIMIT_AS, memory, memory + _MEMORY_RESERVE)
    _lower(resource.RLIMIT_CPU, cpu, cpu + 1)
    _lower(resource.RLIMIT_FSIZE, int(limits.file_mb * _MB))
    _lower(resource.RLIMIT_NOFILE, _FILES)
    _lower(resource.RLIMIT_NPROC, _PROCESSES)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, where there is none that is lower already."""
    most = resource.getrlimit(which)[1]
    most = sys.maxsize if most == resource.RLIM_INFINITY else most
    hard = min(soft if hard is None else hard, most)
    resource.setrlimit(which, (min(soft, hard), hard))


def _do(job: Job, handler: Handler, line: StreamLine, limits: Limits) -> None:
    """Run the handler and send how it ended."""
    pid = os.getpid()
    outcome = _outcome(lambda: _result(job, handler, line))
    if os.getpid() != pid:  # the handler forked, and its child came back as well
        os._exit(0)
    if outcome is None:  # now that what it held is freed
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
        message = f"{job.kind} needs more than {limits.memory_mb:g} MB"
        outcome = frames.Raised(runner.MEMORY_LIMIT, runner.described("MemoryError", message), "")
    line.send(outcome)


def _outcome(work: Callable[[], bytes]) -> FromHandler | None:
    """Return how the handler ended; None where it ran out of memory."""
    try:
        return frames.Returned(Raw(work()))
    except MemoryError:
        return None
    except BaseException as error:  # noqa: BLE001 - user code
        if suspended := suspension(error):
            return frames.Asked(suspended.question)
        text = runner.readable(traceback.format_exc()[-_MAX_TRACEBACK:])
        return frames.Raised(failing.reason_of(error), runner.failure(error), text)


def _result(job: Job, handler: Handler, line: StreamLine) -> bytes:
    arguments = handler.validate(job.params)
    if inspect.iscoroutinefunction(handler.function):
        return new_event_loop().run_until_complete(_awaited(handler, arguments, job.facts, line))
    return result.encoded(call.begin(handler, arguments, job.facts, line))


async def _awaited(handler: Handler, arguments: Mapping[str, Any], facts: Facts, line: StreamLine) -> bytes:
    """Await an async handler; the wish to stop cancels it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def on_word() -> None:
        if line.stopped and task is not None:
            loop.remove_reader(line)
            task.cancel()

    loop.add_reader(line, on_word)
    return result.encoded(await call.begin(handler, arguments, facts, line))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
