"""An executor on the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from services.executor.loading import load_registry
from services.executor.service import serve
from services.runtime.process import Stop
from services.runtime.settings import Settings


@asynccontextmanager
async def executing(settings: Settings, *goals: Callable[..., Any]) -> AsyncIterator[Stop]:
    """Run an executor with the built-in kinds and `goals`, ready when the inside starts."""
    registry = load_registry(())
    for function in goals:
        registry.add(function)
    stop, ready = Stop(), asyncio.Event()
    running = asyncio.ensure_future(serve(settings, stop, registry, http=False, on_ready=ready.set))
    began = asyncio.ensure_future(ready.wait())
    await asyncio.wait({running, began}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    began.cancel()
    try:
        if not running.done():
            yield stop
    finally:
        stop.set()
        await running
