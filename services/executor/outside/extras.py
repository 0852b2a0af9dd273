"""Libraries that only some kinds need: imported when the first goal of such a kind runs, not at the start."""

from __future__ import annotations

import asyncio
import importlib

from services.executor.context import Reject

_imported: set[str] = set()


async def need(kind: str, library: str, *, extra: str) -> None:
    """Import a library off the event loop, for it may take a second; raises `Reject` saying how to install it."""
    if library in _imported:
        return
    try:
        await asyncio.to_thread(importlib.import_module, library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise Reject(f'goal kind "{kind}" needs: pip install "nats-missions[{extra}]"') from None
    _imported.add(library)
