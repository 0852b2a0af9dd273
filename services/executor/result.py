"""What a handler returned, as JSON: whatever msgspec or pydantic can write, within the limits of a result."""

from __future__ import annotations

import msgspec
from pydantic_core import to_jsonable_python

from contracts import codec
from contracts.artifacts import INLINE_RESULT_BYTES, MAX_RESULT_BYTES
from contracts.errors import TooLarge
from services.executor import runner

#: Records, views and answers put a result some levels further down, and every reader limits the depth.
MAX_RESULT_DEPTH = codec.MAX_DEPTH - 8

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_skim = msgspec.json.Decoder(msgspec.Raw).decode


class BadResult(Exception):
    """The result cannot be written as JSON."""


class ResultTooLarge(Exception):
    """The result is over what can be kept."""


def encoded(value: object) -> bytes:
    """Write a result as JSON; raises `BadResult` or `ResultTooLarge`."""
    return checked(_as_json(value))


def checked(data: bytes) -> bytes:
    """Return a result that is JSON already, within the limits; raises `BadResult` or `ResultTooLarge`."""
    if len(data) > MAX_RESULT_BYTES:
        raise _too_large(f"the result has {len(data)} bytes, {MAX_RESULT_BYTES} are allowed")
    try:
        codec.check_depth(data, MAX_RESULT_DEPTH)
        _read_back(data)
    except TooLarge as error:
        raise _too_large(str(error)) from error
    except ValueError as error:
        raise _bad(error) from error
    return data


def _read_back(data: bytes) -> None:
    """Find out that it is JSON, since an object may write itself, and badly; raises `ValueError`.

    A large one stands in no record that others must read, and unpacked it would fill the memory: it is only skimmed.
    """
    if len(data) > INLINE_RESULT_BYTES:
        data.decode()
        _skim(data)
    else:
        _decode(data)


def _as_json(value: object) -> bytes:
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001 - what msgspec cannot write, pydantic may
        return _by_pydantic(value)


def _by_pydantic(value: object) -> bytes:
    try:
        return _encode(to_jsonable_python(value))
    except Exception as error:
        raise _bad(error) from error


def _too_large(message: str) -> ResultTooLarge:
    return ResultTooLarge(f"{message}: keep it with ctx.artifact and return its name")


def _bad(error: Exception) -> BadResult:
    return BadResult(f"the result cannot be written as JSON: {runner.failure(error).message}")
