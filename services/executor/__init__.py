"""Mission in, records out: claims missions, runs their goals, writes what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.executor.embedded import BackgroundExecutor, run_executor_with_timeout, start_executor_background

__all__ = ["BackgroundExecutor", "run_executor_with_timeout", "start_executor_background"]


def __getattr__(name: str) -> Any:
    """Load the embedded executor on first use: whoever only writes goals does not pay for a server."""
    if name in __all__:
        from services.executor import embedded  # noqa: PLC0415 - that is the point

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
