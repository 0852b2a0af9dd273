"""What a handler returned, as JSON: whatever msgspec or pydantic can write, within the limits of a record."""

from __future__ import annotations

from pydantic_core import to_jsonable_python

from contracts import codec
from contracts.errors import ContractError, TooLarge
from services.executor import runner

#: A record holds the result twice at most, and must stay below what a message may have.
MAX_RESULT_BYTES = 96 * 1024
#: Records, views and answers put a result some levels further down, and every reader limits the depth.
MAX_RESULT_DEPTH = codec.MAX_DEPTH - 8


class BadResult(Exception):
    """The result cannot be written as JSON."""


class ResultTooLarge(Exception):
    """The result is over what a record can carry."""


def encoded(value: object) -> bytes:
    """Write a result as JSON; raises `BadResult` or `ResultTooLarge`."""
    try:
        data = _as_json(value)
        codec.check_limits(data, MAX_RESULT_DEPTH)
        codec.decode_any(data)  # an object may write itself, and badly
    except TooLarge as error:
        raise _too_large(str(error)) from error
    except ContractError as error:
        raise _bad(error) from error
    if len(data) > MAX_RESULT_BYTES:
        raise _too_large(f"the result has {len(data)} bytes, {MAX_RESULT_BYTES} are allowed")
    return data


def _as_json(value: object) -> bytes:
    try:
        return codec.encode(value)
    except TooLarge:
        raise
    except ContractError:
        return _by_pydantic(value)


def _by_pydantic(value: object) -> bytes:
    try:
        return codec.encode(to_jsonable_python(value))
    except TooLarge:
        raise
    except Exception as error:
        raise _bad(error) from error


def _too_large(message: str) -> ResultTooLarge:
    return ResultTooLarge(f"{message}: store it and return where it is")


def _bad(error: Exception) -> BadResult:
    return BadResult(f"the result cannot be written as JSON: {runner.failure(error).message}")
