"""A plan: goals that use what earlier ones gave back. Needs `missions up --goals examples/02_goals.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from missions import Client

GOALS: list[dict[str, Any]] = [
    {"id": "count", "kind": "words.count", "params": {"text": "one two three"}},
    {"id": "rates", "kind": "rates.fetch"},
    # A text that is nothing but a reference becomes the value itself, here a number.
    {"id": "import", "kind": "rows.import", "params": {"rows": "${count.words}"}},
    # Within a longer text it is written as text; `$${` is a literal `${`. A goal needs what it refers to.
    {
        "id": "report",
        "kind": "echo",
        "params": {"text": "${import} rows, longest ${count.longest}, $${rates}: ${rates}"},
    },
    # With `continue` this failure ends nothing at once: whatever does not need it is done first.
    {"id": "broken", "kind": "fail", "params": {"message": "the printer is on fire"}},
    {"id": "print", "kind": "echo", "params": {"text": "printed ${broken}"}},
]


async def main() -> None:
    """Say the plan, wait for its end, and print what became of each goal."""
    async with Client() as client:
        mission_id = await client.say(goals=GOALS, title="A plan", on_failure="continue", max_parallel=2)
        mission = await client.wait(mission_id, seconds=30)
    for goal in mission["goals"]:
        said = goal["error"]["message"] if goal["error"] else goal["result"]
        print(f"{goal['id']:<7} {goal['status']:<10} {said}")
    print(f"{mission['status']}: {mission['error']['message']}")


if __name__ == "__main__":
    asyncio.run(main())
