"""Logs: constant event names with key-values, JSON lines or a console, on stderr."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from services.runtime.settings import Settings

_MAX_VALUE = 1_024
_SECRETS = re.compile(r"(nats|tls|https?)://[^/@\s]+@|((?:token|password|authorization)\s*[=:]\s*)\S+", re.IGNORECASE)


def configure(service: str, settings: Settings) -> None:
    """Set structlog up for this process; called once, by whoever owns the process."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _cut_and_mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # its traceback per failed reconnect says nothing new


def _cut_and_mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            limit = _MAX_VALUE * 8 if name == "exception" else _MAX_VALUE
            event[name] = _SECRETS.sub(_masked, value)[:limit]
    return event


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}://***@" if match[1] else f"{match[2]}***"
