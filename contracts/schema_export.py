"""Writes the JSON Schema of every message to `contracts/schema/`: `python -m contracts.schema_export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from contracts.messages import ChatEvent, JournalRecord, KindSpec, Mission, Reply, StatusRecord

FOLDER = Path(__file__).parent / "schema"

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "chat_event": ChatEvent,
    "journal_record": JournalRecord,
    "kind": KindSpec,
    "mission": Mission,
    "reply": Reply,
    "status": StatusRecord,
}


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one message."""
    schema = msgspec.json.schema(MESSAGES[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **schema}


def rendered(name: str) -> str:
    """Return the schema file of one message as it is kept."""
    return msgspec.json.format(msgspec.json.encode(schema_of(name)), indent=2).decode() + "\n"


def main() -> None:
    """Write every schema file."""
    for name in MESSAGES:
        (FOLDER / f"{name}.json").write_text(rendered(name))


if __name__ == "__main__":
    main()
