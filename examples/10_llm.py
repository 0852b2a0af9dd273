"""Ask a model: pip install "nats-missions[llm]", a server that speaks the OpenAI protocol on this machine, and

MISSIONS_LLM_BASE_URL=http://127.0.0.1:11434/v1 MISSIONS_LLM_MODELS=llama3.2 missions up.
"""

from __future__ import annotations

import asyncio

from missions import Client

GOAL = {"kind": "llm", "params": {"system": "Be brief.", "prompt": "Say hello to the team.", "max_tokens": 200}}


async def main() -> None:
    """Ask, and print the answer and what it cost."""
    async with Client() as client:
        mission = await client.wait(await client.say(goals=[GOAL]), seconds=120)
    if mission["status"] != "completed":
        raise SystemExit(f"{mission['reason']}: {mission['error']['message']}")
    print(mission["result"]["text"])
    print(f"{mission['result']['usage']['total_tokens']} tokens")


if __name__ == "__main__":
    asyncio.run(main())
