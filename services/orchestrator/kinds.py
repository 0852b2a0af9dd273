"""The goal kinds that executors announced, as one immutable value that planners look things up in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from msgspec import Struct

from contracts import ids
from contracts.errors import ContractError
from contracts.messages import KindSpec
from contracts.subjects import DEFAULT_QUEUE
from services.orchestrator.phrase import InvalidPhrase, Phrase, compile_phrase

log = structlog.get_logger()

MAX_KINDS = 1_000
MAX_PHRASES_PER_KIND = 20
_EXAMPLES = {"string": '"some text"', "integer": "1", "number": "1.5", "boolean": "true", "array": "'[1, 2]'"}
_NO_KINDS = "No goal kind is announced yet: start an executor."
_ANY_EXAMPLE = "'{\"a\": 1}'"


class Kinds(Struct, frozen=True):
    """Which kinds exist, on which queues, and by which phrases they are asked for."""

    queues: dict[str, frozenset[str]] = {}
    phrases: tuple[Phrase, ...] = ()
    help: str = _NO_KINDS

    @classmethod
    def of(cls, specs: Iterable[KindSpec]) -> Kinds:
        """Build the value from announcements; what is invalid is logged and left out."""
        queues: dict[str, frozenset[str]] = {}
        phrases: dict[tuple[str, str], Phrase] = {}
        valid = [spec for spec in specs if _is_valid(spec)][:MAX_KINDS]
        for spec in valid:
            queues[spec.kind] = queues.get(spec.kind, frozenset()) | {spec.queue}
            phrases |= {(phrase.kind, phrase.text): phrase for phrase in _phrases(spec)}
        return cls(queues, tuple(phrases.values()), _help([spec for spec in valid if not spec.off], phrases.values()))

    def serves(self, queue: str) -> bool | None:
        """Tell whether executors announced themselves on a queue within a day; None where nobody did on any."""
        return any(queue in queues for queues in self.queues.values()) if self.queues else None

    def queue_of(self, kind: str) -> str:
        """Return the queue to use for a kind: the default one where it is served or nobody announced the kind."""
        served = self.queues.get(kind)
        return DEFAULT_QUEUE if served is None or DEFAULT_QUEUE in served else min(served)


def _is_valid(spec: KindSpec) -> bool:
    try:
        ids.check_kind(spec.kind)
        ids.check_token(spec.queue, "queue")
    except ContractError as error:
        log.warning("kind_ignored", kind=spec.kind, reason=str(error))
        return False
    return True


def _phrases(spec: KindSpec) -> list[Phrase]:
    found: list[Phrase] = []
    for text in spec.phrases[:MAX_PHRASES_PER_KIND]:
        try:
            found.append(compile_phrase(spec.kind, text))
        except InvalidPhrase as error:
            log.warning("phrase_ignored", kind=spec.kind, reason=str(error))
    return found


def _help(specs: list[KindSpec], phrases: Iterable[Phrase]) -> str:
    """Say what can be asked: kinds, phrases and an example that works."""
    if not specs:
        return _NO_KINDS
    names = {spec.kind for spec in specs}
    lines = [f"You can run: {_listed(sorted(names))}."]
    if said := sorted(f'"{phrase.text}"' for phrase in phrases if phrase.kind in names):
        lines.append(f"You can say: {_listed(said, 10)}.")
    example = min(specs, key=lambda spec: (spec.kind != "echo", spec.kind))
    lines.append(f"For example: {_example(example)}")
    return "\n".join(lines)


def _listed(words: list[str], most: int = 20) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def _example(spec: KindSpec) -> str:
    """Write a command for a kind with the params that its schema requires, or else with the first it knows."""
    properties: dict[str, Any] = spec.params_schema.get("properties") or {}
    names = spec.params_schema.get("required") or list(properties)[:1]
    params = [f"{name}={_EXAMPLES.get(_type(properties.get(name)), _ANY_EXAMPLE)}" for name in names[:5]]
    return " ".join(["/run", spec.kind, *params])


def _type(schema: Any) -> str:
    return str(schema.get("type", "string")) if isinstance(schema, dict) else "string"
