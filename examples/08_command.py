"""Run a program that the executors allow: MISSIONS_COMMANDS='lines=/usr/bin/wc -l' missions up."""

from __future__ import annotations

import asyncio

from missions import Client

GOAL = {"kind": "command", "params": {"name": "lines", "stdin": "one\ntwo\n"}}


async def main() -> None:
    """Count lines in a program of the machine that the executor is on."""
    async with Client() as client:
        mission = await client.wait(await client.say(goals=[GOAL]), seconds=60)
    if mission["status"] != "completed":
        raise SystemExit(f"{mission['reason']}: {mission['error']['message']}")
    print(f"{mission['result']['stdout'].strip()} lines")


if __name__ == "__main__":
    asyncio.run(main())
