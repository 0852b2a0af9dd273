"""What planning ends in when it does not end in goals."""

from __future__ import annotations

from msgspec import Struct


class Refused(Struct, frozen=True):
    """A chat event that cannot become work: `text` says what is wrong, `asks` what can be asked instead."""

    reason: str
    text: str
    asks: str = ""

    def __str__(self) -> str:
        """Say it all, as the reply does."""
        return f"{self.text}\n{self.asks}" if self.asks else self.text
