"""Asking a person: how a question leaves its handler, and how an answer comes back into it. No I/O."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from contracts import codec
from contracts.messages import Answer, Question, now
from services.executor.runner import readable

MAX_TEXT = 4_000
MAX_SCHEMA_BYTES = 16 * 1024
_MAX_KEY = 256
_MAX_EXPIRES_S = 31_536_000


class Suspended(BaseException):
    """Leaves a handler that asked something: not an `Exception`, so that no handler takes it for an error."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.text)
        self.question = question


class Asks(Exception):
    """A try ended with a question: `Suspended`, as its place hands it to the executor."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.text)
        self.question = question


class Unfit(Exception):
    """The answer does not fit the question."""


def suspension(error: BaseException) -> Suspended | None:
    """Return the question that an exception is, alone or in the group of a `TaskGroup` where nothing else failed."""
    if isinstance(error, Suspended):
        return error
    if isinstance(error, BaseExceptionGroup):
        asked, other = error.split(Suspended)
        return None if asked is None or other is not None else suspension(asked.exceptions[0])
    return None


def question_of(text: str, schema: Any, expires: float | None, key: str) -> Question:
    """Return the question as a record carries it; raises `ValueError` where it cannot."""
    if not text.strip() or len(text) > MAX_TEXT:
        raise ValueError(f"a question has 1 to {MAX_TEXT} characters, not {len(text)}")
    if expires is not None and not (math.isfinite(expires) and 0 < expires <= _MAX_EXPIRES_S):
        raise ValueError(f"a question expires after some seconds, at most a year, not {expires}")
    return Question(
        key=_key(readable(key or text)),
        text=readable(text),
        schema=_schema(schema),
        expires_at=None if expires is None else now() + timedelta(seconds=expires),
    )


def latest(answers: Iterable[Answer], question: Question) -> Answer | None:
    """Return the last answer to a question, if there is one."""
    found = [answer for answer in answers if answer.key == question.key]
    return found[-1] if found else None


def fitting(value: Any, schema: Any) -> Any:
    """Return an answer as the type that was asked for; raises `Unfit` in words for who answered."""
    if schema is None:
        return value
    try:
        return TypeAdapter(schema).validate_json(codec.encode(value))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise Unfit(readable(f"{where}: {problem['msg']}" if where else problem["msg"])[:500]) from None


def again(question: Question, problem: Unfit) -> Question:
    """Return the question, asked once more because of what was wrong with its answer."""
    return replace(question, problem=str(problem))


def _schema(schema: Any) -> dict[str, Any]:
    try:
        found = {} if schema is None else TypeAdapter(schema).json_schema()
    except (PydanticUserError, SchemaError) as error:
        message = (
            f"the schema of an answer is a type, such as bool, Literal['yes', 'no'] or a model, not {schema!r:.100}"
        )
        raise ValueError(message) from error
    size = len(codec.encode(found))
    if size > MAX_SCHEMA_BYTES:
        raise ValueError(f"the schema of the answer has {size} bytes, {MAX_SCHEMA_BYTES} are allowed: ask for less")
    return found


def _key(key: str) -> str:
    """Return a key that a record can carry and that no other question shares."""
    if len(key) <= _MAX_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{key[: _MAX_KEY - len(digest)]}{digest}"
