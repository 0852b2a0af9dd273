"""Texts that match a phrase of a goal kind."""

from __future__ import annotations

from contracts import references
from contracts.messages import ChatEvent, Goal
from services.orchestrator.kinds import Kinds
from services.orchestrator.phrase import MAX_TEXT, Phrase, trim
from services.orchestrator.verdict import Refused


def plan(event: ChatEvent, kinds: Kinds) -> tuple[Goal, ...] | Refused | None:
    """Match the whole text; the phrase with the most literal characters wins, two equal ones are refused."""
    if not event.text or len(event.text) > MAX_TEXT or not kinds.phrases:
        return None
    text = trim(event.text)
    found = [(phrase, params) for phrase in kinds.phrases if (params := phrase.match(text)) is not None]
    if not found:
        return None
    longest = max(phrase.weight for phrase, _ in found)
    best = [(phrase, params) for phrase, params in found if phrase.weight == longest]
    phrase, params = best[0]
    if any((other.kind, theirs) != (phrase.kind, params) for other, theirs in best[1:]):
        return _ambiguous([phrase for phrase, _ in best])
    said = {name: references.escape(value) for name, value in params.items()}
    return (Goal(id="g1", kind=phrase.kind, params=said),)  # what a person says is meant as it stands


def _ambiguous(phrases: list[Phrase]) -> Refused:
    listed = "\n".join(f'"{phrase.text}" of {phrase.kind}' for phrase in phrases[:10])
    example = f"/run {phrases[0].kind} name=value"
    return Refused("ambiguous", f"That can mean more than one thing:\n{listed}", f"Say which: {example}")
