"""One try in a process, as its executor sees it: what it says, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import structlog

from services.executor import result, runner
from services.executor.call import Call
from services.executor.failing import GoalFailed, HandlerTraceback
from services.executor.isolation import frames
from services.executor.isolation.frames import Asked, Ended, Garbled, Limits, Raised, Returned, Saving, Told
from services.executor.reports.asking import Asks

log = structlog.get_logger()

_CHUNK = 64 * 1024
#: A process that fills a whole read at once rests before the next one, so that it cannot keep its executor busy.
_REST_S = 0.01
_TAIL = 2_000
_SHOWN = 1_500
#: Checkpoints on their way; who saves ever more without waiting for any is no longer listened to.
_MOST_SAVES = 100


class ProcessTry:
    """The executor's ends of the socket and the output of one process, which `kill` ends. On the service's loop."""

    def __init__(self, call: Call, limits: Limits, kill: Callable[[], None]) -> None:
        self._call = call
        self._limits = limits
        self._kill = kill
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._stream, self._their_stream = socket.socketpair()
        self._stream.setblocking(False)
        self._output, self._their_output = os.pipe()
        os.set_blocking(self._output, False)
        self._unframer = frames.Unframer(frames.decode_from_handler)
        self._outcome: Returned | Raised | Asked | None = None
        self._saves = 0
        self._printed = 0
        self._tail = b""
        self._broken: GoalFailed | None = None
        self._loop.add_reader(self._stream, self._listen)
        self._loop.add_reader(self._output, self._read_output)

    @property
    def theirs(self) -> list[int]:
        """The descriptors that the process is given."""
        return [self._their_stream.fileno(), self._their_output]

    def release_theirs(self) -> None:
        """Close our copies of what the process has now."""
        self._their_stream.close()
        os.close(self._their_output)

    async def say(self, job: frames.Job) -> None:
        """Tell the process what to do; one that is gone hears nothing."""
        try:
            await self._loop.sock_sendall(self._stream, frames.framed(job))
        except OSError:
            return

    def ask_to_stop(self) -> bool:
        """Tell the process to stop; return whether there is room for that word: it has nothing else to read."""
        try:
            self._stream.send(frames.framed(frames.StopWish()))
        except OSError:
            return False
        return True

    def verdict(self) -> bytes:
        """Return the result, once the process is over; raises `GoalFailed`, `Asks` and what a bad result raises."""
        self._take_the_rest()
        if self._broken is not None:
            raise self._broken
        if isinstance(self._outcome, Returned):
            return result.checked(bytes(self._outcome.result))
        if isinstance(self._outcome, Asked):
            raise Asks(self._outcome.question)
        if isinstance(self._outcome, Raised):
            raise GoalFailed(self._outcome.reason, self._outcome.failure) from HandlerTraceback(self._outcome.traceback)
        raise died(self._call.handler.kind, self.ended.result(), self._limits, self._last_words())

    def close(self) -> None:
        """Close our ends, and say in the log what was printed."""
        self._loop.remove_reader(self._stream)
        self._loop.remove_reader(self._output)
        self._stream.close()
        os.close(self._output)
        if words := self._last_words():
            facts = self._call.report.facts
            log.info(
                "handler_output",
                mission_id=facts.mission_id,
                goal=facts.goal_id,
                attempt=facts.attempt,
                size_bytes=self._printed,
                tail=words,
            )

    def _listen(self) -> None:
        """Hear what the process says; one that says very much must wait."""
        if self._take_words() >= _CHUNK:
            self._loop.remove_reader(self._stream)
            self._loop.call_later(_REST_S, self._listen_again)

    def _listen_again(self) -> None:
        if self._stream.fileno() >= 0 and self._broken is None:
            self._loop.add_reader(self._stream, self._listen)

    def _take_words(self) -> int:
        """Read once and act on it; return how many bytes there were."""
        try:
            data = self._stream.recv(_CHUNK)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._stream)
            return 0
        try:
            for message in self._unframer.feed(data):
                self._act_on(message)
        except Garbled as error:
            self._break(runner.GARBLED, f"{self._call.handler.kind} wrote what is no message of ours: {error}")
        return len(data)

    def _act_on(self, message: frames.FromHandler) -> None:
        if isinstance(message, Told):
            self._call.report.tell(message.said)
        elif isinstance(message, Saving):
            self._save(message)
        elif self._outcome is None:
            self._outcome = message

    def _save(self, saving: Saving) -> None:
        """Hand a checkpoint on, and tell the process what became of it."""
        self._saves += 1
        if self._saves > _MOST_SAVES:
            message = f"{self._call.handler.kind} has more than {_MOST_SAVES} checkpoints on their way"
            self._break(runner.GARBLED, message)
            return
        self._call.report.save(saving.saved).add_done_callback(partial(self._settle, saving.number))

    def _settle(self, number: int, saved: Future[None]) -> None:
        self._saves -= 1
        error = saved.exception()
        with suppress(OSError):  # it is gone, or does not listen
            self._stream.send(frames.framed(frames.Settled(number, str(error) if error else "")))

    def _read_output(self) -> None:
        """Keep the end of what is printed; who prints more than allowed is over."""
        data = self._take_output()
        if self._printed > self._limits.output_kb * 1024:
            self._break(
                runner.OUTPUT_LIMIT, f"{self._call.handler.kind} printed more than {self._limits.output_kb:g} KB"
            )
        if not data:
            self._loop.remove_reader(self._output)

    def _take_output(self) -> bytes | None:
        """Read once; empty at the end."""
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return None
        self._printed += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        return data

    def _take_the_rest(self) -> None:
        """Read what is still there of a process that is over; nobody writes any more."""
        if self._broken is None:
            for _ in range(frames.MAX_FRAME_BYTES // _CHUNK):
                if not self._take_words():
                    break
        while self._printed <= self._limits.output_kb * 1024 and self._take_output():
            continue

    def _break(self, reason: str, message: str) -> None:
        """End a process that does what no handler may."""
        self._loop.remove_reader(self._stream)
        self._loop.remove_reader(self._output)
        if self._broken is None:
            self._broken = GoalFailed(reason, runner.described("HandlerProcess", message))
            self._kill()

    def _last_words(self) -> str:
        return self._tail.decode(errors="replace").strip()


def died(kind: str, ended: Ended, limits: Limits, last_words: str) -> GoalFailed:
    """Say why a process is over that gave no outcome."""
    if ended.problem:
        return GoalFailed(runner.WORKER_LOST, runner.described("WorkerLost", ended.problem))
    number = -ended.exit_code
    used_up = number == signal.SIGKILL and ended.cpu_s >= limits.cpu_s
    if number == signal.SIGXCPU or used_up:
        return GoalFailed(
            runner.CPU_LIMIT, runner.described("CpuLimit", f"{kind} used more than {limits.cpu_s:g} s of CPU")
        )
    if number > 0:
        message = f"{kind} was ended by {signal_name(number)}"
        if number == signal.SIGKILL:
            message += ", which its executor did not send: perhaps the kernel, out of memory"
    else:
        message = f"{kind} ended its process with exit code {ended.exit_code}"
    tail = f"; the last it printed: {last_words[-_SHOWN:]}" if last_words else ""
    return GoalFailed(runner.HANDLER_EXIT, runner.described("HandlerExit", message + tail))


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
