"""Kinds for trying things out: `echo`, `sleep`, `fail`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from services.executor.context import Context
from services.executor.registry import goal

_STEP_S = 0.5


@goal("echo")
async def echo(text: str = "") -> str:
    """Give back the text."""
    return text


@goal("sleep")
async def sleep(ctx: Context, seconds: Annotated[float, Field(ge=0, le=86_400)] = 1.0) -> float:
    """Wait for some seconds, reporting progress."""
    slept = 0.0
    while slept < seconds:
        ctx.progress(slept, seconds)
        step = min(_STEP_S, seconds - slept)
        await asyncio.sleep(step)
        slept += step
    return seconds


@goal("fail")
async def fail(ctx: Context, message: str = "failed as asked", times: Annotated[int, Field(ge=0)] = 1_000_000) -> int:
    """Fail the first `times` tries, then give back which try succeeded."""
    if ctx.attempt <= times:
        raise RuntimeError(message)
    return ctx.attempt
