"""Handlers in processes of their own: each try in a fork of the zygote, with limits, and killed with all it started."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
from collections import Counter
from pathlib import Path

from contracts.errors import SetupError
from services.executor import runner
from services.executor.call import Call
from services.executor.declaring.placement import Placement
from services.executor.failing import GoalFailed
from services.executor.isolation import frames
from services.executor.isolation.frames import Begin, Ended, Limits, Source
from services.executor.isolation.process_try import ProcessTry
from services.executor.isolation.stopping import ends_in_time, ends_within_grace
from services.executor.isolation.zygote_process import Zygote
from services.executor.registry import Handler, Registry
from services.runtime.settings import Settings

#: A zygote that does not kill what it was told to within this time is killed itself, with everything.
_KILLED_WITHIN_S = 5.0


class HandlerProcesses:
    """Up to `settings.processes` at once. `run` is called on the service's loop."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.detached: Counter[str] = Counter()  #: always empty: a process can be killed
        self._settings = settings
        self._sources = [source_of(handler) for handler in registry if handler.isolation == "process"]
        self._free = asyncio.Semaphore(settings.processes)
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._tries: dict[int, ProcessTry] = {}
        self._zygote: Zygote | None = None

    async def start(self) -> None:
        """Start the zygote where there are kinds for it; raises `SetupError` when it cannot import them."""
        if self._sources:
            await self._living_zygote()

    async def reserve(self) -> None:
        """Wait until a process may start; it must then be run."""
        await self._free.acquire()

    async def run(self, call: Call) -> bytes:
        """Run a handler and return its result as JSON; cancelling this stops it, and kills it after its grace."""
        try:
            try:
                zygote = await self._living_zygote()
            except (SetupError, OSError) as error:
                raise GoalFailed(runner.WORKER_LOST, runner.failure(error)) from error
            return await self._run(call, zygote)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the zygote and every process that is left."""
        if self._zygote is not None:
            self._zygote.close()

    async def _living_zygote(self) -> Zygote:
        """Return the zygote, started anew where it died."""
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                zygote = Zygote(self._settings, self._on_ended)
                await zygote.start(self._sources)
                self._zygote = zygote
            return self._zygote

    async def _run(self, call: Call, zygote: Zygote) -> bytes:
        number = next(self._numbers)
        limits = limits_of(call.handler.placement, self._settings)
        folder = zygote.folder / str(number)
        running = self._tries[number] = ProcessTry(call, limits, lambda: zygote.kill(number))
        try:
            try:
                folder.mkdir()
                zygote.begin(Begin(number, str(folder), limits), running.theirs)
            except OSError as error:
                raise GoalFailed(runner.WORKER_LOST, runner.failure(error)) from error
            finally:
                running.release_theirs()
            await self._until_ended(call, running, number, zygote)
            return running.verdict()
        finally:
            del self._tries[number]
            running.close()
            await _remove(folder)

    async def _until_ended(self, call: Call, running: ProcessTry, number: int, zygote: Zygote) -> None:
        """Wait for the end of the process; a cancel is a wish to stop first, and a kill after the grace."""
        told = False
        try:
            await running.say(frames.Job(call.handler.kind, dict(call.params), call.report.facts))
            told = True
            await asyncio.wait({running.ended})
        except asyncio.CancelledError:
            call.report.stop()
            if not (
                told and running.ask_to_stop() and await ends_within_grace(running.ended, call.report, killable=True)
            ):
                zygote.kill(number)
                if not await ends_in_time(running.ended, _KILLED_WITHIN_S):
                    zygote.destroy()
            raise

    def _on_ended(self, ended: Ended) -> None:
        running = self._tries.get(ended.number)
        if running is not None and not running.ended.done():
            running.ended.set_result(ended)


def source_of(handler: Handler) -> Source:
    """Return where a child process finds the function of a kind."""
    function = handler.function
    module = sys.modules[function.__module__]
    return Source(function.__module__, function.__qualname__, getattr(module, "__file__", None) or "")


def limits_of(placement: Placement, settings: Settings) -> Limits:
    """Return what the process of a try may use: what its kind declares, else what the settings say."""
    return Limits(
        memory_mb=placement.memory_mb or settings.handler_memory_mb,
        cpu_s=placement.cpu_s or settings.handler_cpu_s,
        output_kb=placement.output_kb or settings.handler_output_kb,
        file_mb=settings.handler_file_mb,
    )


async def _remove(folder: Path) -> None:
    """Remove the working directory of a try, in a thread where there is something in it."""
    if not _is_removed(folder):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
