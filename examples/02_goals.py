"""Goals of your own: `missions up --goals examples/02_goals.py`, then say what the phrases say."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field

from missions import Context, Reject, goal


@goal("greet", phrases=["say hello to {name}", "greet {name}"])
def greet(name: str) -> str:
    """Greet somebody: `missions say "say hello to Ann" --follow`. A sync handler runs in a thread."""
    return f"Hello, {name}!"


class Count(BaseModel):
    """What `words.count` gives back: any pydantic model, dataclass, struct or plain JSON value will do."""

    words: int
    longest: str


@goal("words.count")
def count_words(text: Annotated[str, Field(min_length=1)]) -> Count:
    """Count words: `missions say '/run words.count text="one two three"'`. Bad params are rejected before it runs."""
    words = text.split()
    return Count(words=len(words), longest=max(words, key=len, default=""))


@goal("rates.fetch", retries=3, backoff=0.1, timeout=10)
async def fetch_rates(ctx: Context, currency: str = "EUR") -> dict[str, float]:
    """Fail twice, then succeed: each try is a record. An async handler runs on the handlers' own event loop."""
    if currency not in {"EUR", "USD"}:
        raise Reject(f"there is no rate for {currency}")  # never tried again, whatever `retries` says
    if ctx.attempt < 3:  # noqa: PLR2004 - the third try succeeds
        raise ConnectionError(f"try {ctx.attempt}: the rates are not reachable")
    return {currency: 1.0}


@goal("rows.import", phrases=["import {rows} rows"], timeout=600)
async def import_rows(ctx: Context, rows: Annotated[int, Field(ge=1, le=1_000)]) -> int:
    """Report progress while it works: at most one record a second is written, the last word counts."""
    for row in range(rows):
        ctx.progress(row, rows, note="importing")
        await asyncio.sleep(0.01)
    ctx.log.info("rows_imported", rows=rows)
    return rows


@goal("paper.order", phrases=["order {what}"])
def order(ctx: Context, what: str) -> str:
    """Ask a person, and wait as long as it takes: `missions say "order paper"`, then `missions answer ID yes`."""
    if not ctx.ask(f"Order {what}?", bool, expires=86_400, default=False):
        return "not ordered"
    return f"{what} is ordered"
