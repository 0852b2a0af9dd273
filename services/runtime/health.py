"""Health: what keeps this process from being ready, each under its own name."""

from __future__ import annotations

from collections.abc import Callable


class Health:
    """Ready means that every part said it works; a part is red from `expect` until its first `green`."""

    def __init__(self, on_ready: Callable[[], None] | None = None) -> None:
        self._reasons: dict[str, str] = {}
        self._on_ready = on_ready

    def expect(self, name: str) -> None:
        """Stay unready until this part reports."""
        self._reasons[name] = "starting"

    def red(self, name: str, reason: str) -> None:
        """Say why this part does not work now."""
        self._reasons[name] = reason

    def green(self, name: str) -> None:
        """Say that this part works."""
        if self._reasons.pop(name, None) and not self._reasons and self._on_ready:
            self._on_ready()

    def reasons(self) -> dict[str, str]:
        """Return what is wrong, by part; empty when ready."""
        return dict(self._reasons)

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return not self._reasons
