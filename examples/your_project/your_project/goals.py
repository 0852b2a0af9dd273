"""Goals: `missions up --goals your_project.goals`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.billing import price_of

from missions import Context, Reject, goal
from services import CURRENCY


@goal("invoice.total", phrases=["what do {count} {article} cost"])
def total(article: str, count: int = 1) -> dict[str, int | str]:
    """Say what something costs: `missions say "what do 3 apple cost"`."""
    try:
        return {"total": price_of(article, count), "currency": CURRENCY}
    except LookupError as error:
        raise Reject(str(error)) from error


@goal("invoice.check", isolation="process", timeout=30)
def check(article: str) -> bool:
    """Run in a process of its own, which can be killed."""
    return price_of(article, 1) > 0


@goal("invoice.send", retries=2, backoff=0.1, timeout=30)
async def send(ctx: Context, to: str, folder: str) -> str:
    """Write an invoice once, however often this runs: the key is the same for every try."""
    invoice = Path(folder) / f"{to}-{ctx.idempotency_key}.txt"
    for page in range(20):
        ctx.progress(page, 20, note="printing")
        await asyncio.sleep(0.05)
    invoice.write_text(f"To {to}, fence {ctx.fence}\n")
    return invoice.name
