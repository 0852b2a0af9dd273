"""The orchestrator's HTTP: the door for chat events, health and metrics."""

from __future__ import annotations

from starlette.applications import Starlette

from services.runtime import chat_http, http
from services.runtime.chat_door import ChatDoor
from services.runtime.health import Health
from services.runtime.metrics import Metrics
from services.runtime.settings import Settings


def create_app(door: ChatDoor, health: Health, metrics: Metrics, settings: Settings) -> Starlette:
    """Make the app: `POST /chat/integrated`, `/livez`, `/readyz`, `/metrics`."""
    return http.create_app(chat_http.routes(door), health, metrics, settings)
