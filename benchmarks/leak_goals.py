"""A goal for each place where handlers run."""

from __future__ import annotations

from missions import goal


@goal("leak.loop")
async def in_loop(text: str = "x") -> str:
    """Run on the handlers' loop."""
    return text


@goal("leak.thread")
def in_thread(text: str = "x") -> str:
    """Run in a thread."""
    return text


@goal("leak.process", isolation="process")
def in_process(text: str = "x") -> str:
    """Run in a process."""
    return text
