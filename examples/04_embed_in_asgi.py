"""An executor inside your own ASGI app. Needs a running `missions up`, then `python examples/04_embed_in_asgi.py`.

    curl -X POST http://127.0.0.1:8000/orders/7
    curl http://127.0.0.1:8000/missions/<mission id>

It serves a queue of its own, because every executor of a queue must know the same goal kinds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from missions import Client, goal
from services.executor import start_executor_background
from services.runtime.settings import load

QUEUE = "orders"


@goal("order.confirm", retries=3)
def confirm(order: int) -> str:
    """Confirm an order; it runs in this process, in a thread."""
    return f"order {order} is confirmed"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Run the executor for as long as the app; what still runs at the end goes back to its queue."""
    settings = load(queues=(QUEUE,))
    executor = await asyncio.to_thread(start_executor_background, goals=[confirm], settings=settings)
    try:
        async with Client() as app.state.client:
            yield
    finally:
        await asyncio.to_thread(executor.stop)


async def place(request: Request) -> JSONResponse:
    """Start a mission and answer at once; the id makes a repeated request harmless."""
    order = request.path_params["order"]
    goals = [{"kind": "order.confirm", "params": {"order": order}}]
    mission_id = await request.app.state.client.say(goals=goals, id=f"order-{order}", queue=QUEUE)
    return JSONResponse({"mission_id": mission_id}, status_code=202)


async def mission(request: Request) -> JSONResponse:
    """Say what became of a mission, waiting a few seconds for its outcome."""
    found = await request.app.state.client.wait(request.path_params["mission_id"], seconds=10)
    return JSONResponse({"status": found["status"], "result": found["result"]})


app = Starlette(
    routes=[Route("/orders/{order:int}", place, methods=["POST"]), Route("/missions/{mission_id}", mission)],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), log_level="warning")
