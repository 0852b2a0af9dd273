"""What planning ends in when it does not end in goals."""

from __future__ import annotations

from msgspec import Struct

from contracts.errors import ContractError


class Refused(Struct, frozen=True):
    """A chat event that cannot become work: `text` says what is wrong, `asks` what can be asked instead."""

    reason: str
    text: str
    asks: str = ""

    def __str__(self) -> str:
        """Say it all, as the reply does."""
        return f"{self.text}\n{self.asks}" if self.asks else self.text


class NotDone(ContractError):
    """A command that cannot be carried out, now or later."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused
