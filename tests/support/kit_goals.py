"""The goals of the stacks that the conformance suite runs on."""

from __future__ import annotations

from missions import goal


@goal("kit.greet")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"
