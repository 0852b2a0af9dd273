"""What a handler is given, and how it steers its goal."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from pathlib import Path
from typing import Any, Final, overload

import structlog
from msgspec import Raw

from contracts import artifacts
from contracts.messages import Artifact, LogLine, Progress
from services.executor import result
from services.executor.reports import asking, spool
from services.executor.reports.line import Facts, Kept, Line, Logged, Progressed
from services.executor.reports.logged import HandlerLog
from services.executor.reports.saves import Checkpointed
from services.executor.runner import readable

_UNSET: Final[Any] = object()
MAX_CHECKPOINT_BYTES = 64 * 1024


class Reject(Exception):
    """Raised by a handler: this goal can never succeed, do not try it again."""


class QuestionExpired(Reject):
    """Nobody answered in time, and the question has no default."""


class Context:
    """One try at one goal, as its handler sees it. All of it may be used from any thread."""

    def __init__(self, facts: Facts, line: Line) -> None:
        self._facts = facts
        self._line = line
        self._artifacts: set[str] = set()

    @property
    def mission_id(self) -> str:
        """The mission that runs."""
        return self._facts.mission_id

    @property
    def goal_id(self) -> str:
        """The goal of the mission that runs."""
        return self._facts.goal_id

    @property
    def kind(self) -> str:
        """The kind of the goal."""
        return self._facts.kind

    @property
    def attempt(self) -> int:
        """Which try at this goal this is, from 1."""
        return self._facts.attempt

    @property
    def fence(self) -> int:
        """The sequence of the record that made this process the owner: pass it to your own database."""
        return self._facts.fence

    @property
    def deadline(self) -> datetime | None:
        """When the whole mission must be over."""
        return self._facts.deadline

    @property
    def idempotency_key(self) -> str:
        """The same for every try at this goal, in every attempt: hand it to whatever must not happen twice."""
        return f"{self.mission_id}.{self.goal_id}"

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: cancelled, timed out, or the mission belongs to another owner now."""
        return self._line.stopped

    @property
    def log(self) -> HandlerLog:
        """A structlog logger that names the mission, the goal and the try; the goal's next record keeps the lines."""
        logger = structlog.get_logger().bind(mission_id=self.mission_id, goal=self.goal_id, attempt=self.attempt)
        return HandlerLog(logger, self._logged)

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far it is, as often as you like: at most one record a second is written, the last one counts.

        Raises `ValueError` for what is no number, such as NaN.
        """
        if not (math.isfinite(done) and math.isfinite(total or 0)):
            raise ValueError(f"progress is counted in numbers, not {done} of {total}")
        self._line.tell(Progressed(Progress(done=done, total=total, note=readable(note[:256]))))

    def artifact(self, name: str, data: bytes | str | Path, media_type: str | None = None) -> Artifact:
        """Keep bytes, a text or the file at a `Path` under this name, and return its claim check.

        The data is copied, so the file may be changed or removed at once. It is stored while the handler goes on, and
        the goal ends only when all of it is; what cannot be stored fails the try (`artifact_not_stored`). The same name
        again replaces it. Raises `ValueError` or `ContractError` for a name, a size or a media type that cannot be,
        `OSError` where the file cannot be read. Copying a large file takes its time: in an async handler,
        `await asyncio.to_thread(ctx.artifact, name, path)`.
        """
        if len(self._artifacts | {name}) > artifacts.MAX_ARTIFACTS:
            raise ValueError(f"a try keeps at most {artifacts.MAX_ARTIFACTS} artifacts: put small ones into one file")
        artifact, file = spool.put(self._facts.spool, name, data, media_type, self._facts.artifact_bytes)
        self._artifacts.add(name)
        self._line.tell(Kept(artifact, file))
        return artifact

    def _logged(self, line: LogLine) -> None:
        self._line.tell(Logged(line))

    @overload
    def checkpoint(self) -> Any: ...

    @overload
    def checkpoint(self, obj: Any) -> Any: ...

    def checkpoint(self, obj: Any = _UNSET) -> Any:
        """Save where this goal stands; without `obj`, return what an earlier try saved last (None: nothing).

        In a thread or a process it returns once the broker has it. In an async handler it returns an awaitable with
        the same promise: not awaited, it is written soon, and before any later record of this goal. `obj` is anything
        that is JSON, or that pydantic can make so, up to 64 KiB. Raises `ValueError` for anything else, `NotSaved`
        where this try is over: stopped, timed out, or the mission has another owner.
        """
        if obj is _UNSET:
            return self._facts.checkpoint
        future = self._line.save(Checkpointed(Raw(_saved(obj))))
        if _on_a_loop():
            return asyncio.wrap_future(future)
        self._line.wait(future)
        return None

    def ask(
        self,
        question: str,
        schema: Any = None,
        *,
        expires: float | None = None,
        default: Any = _UNSET,
        key: str = "",
    ) -> Any:
        """Ask a person, and return the answer. Nothing is held meanwhile: no slot, no memory, no process.

        The first call ends this try; once there is an answer, the handler runs again **from its start** and the same
        call returns it. What must not be done twice belongs behind the call, or into a `checkpoint`. `key` tells the
        questions of one goal apart; it is the text where none is given. The answer is checked against `schema`, a
        type: `bool`, `Literal["yes", "no"]`, a model; one that does not fit is asked for again. After `expires`
        seconds without an answer the call returns `default`, or raises `QuestionExpired` where there is none.
        """
        asked = asking.question_of(question, schema, expires, key)
        answer = asking.latest(self._facts.answers, asked)
        if answer is None:
            raise asking.Suspended(asked)
        if answer.expired:
            if default is _UNSET:
                raise QuestionExpired(f"nobody answered in time: {question}")
            return default
        try:
            return asking.fitting(answer.value, schema)
        except asking.Unfit as problem:
            raise asking.Suspended(asking.again(asked, problem)) from None


def _saved(obj: Any) -> bytes:
    """Return a checkpoint as JSON; raises `ValueError`."""
    try:
        data = result.encoded(obj)
    except (result.BadResult, result.ResultTooLarge) as error:
        raise ValueError(f"no checkpoint: {error}".replace("the result", "it")) from error
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise ValueError(
            f"the checkpoint has {len(data)} bytes, {MAX_CHECKPOINT_BYTES} are allowed: "
            "store what is large and save where it is"
        )
    return data


def _on_a_loop() -> bool:
    """Tell whether the caller must not block: it runs on an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
