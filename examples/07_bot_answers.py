"""A bot that asks people and brings their answers back. Needs `missions up --goals examples/02_goals.py`.

Then, elsewhere: `missions say "order paper"`. With `--answer yes` nobody is asked; `--count 1` ends after one question.
Speaks plain nats-py: a bot in any language does the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import Any

import nats
from nats.aio.client import Client

QUESTIONS = "chat.replies.*.*.question"


async def ask(reply: dict[str, Any], given: str | None) -> str:
    """Show a question where the conversation is, and return what a person says to it."""
    print(f"{reply['mission_id']}  {reply['text']}", flush=True)
    return given if given is not None else (await asyncio.to_thread(input, "> "))


async def tell(client: Client, subject: str, reply: dict[str, Any], said: str) -> None:
    """Bring an answer to its mission. The same id makes a repeat harmless; the question's own time names it."""
    conversation = subject.split(".")[2]
    command = {"kind": "answer", "mission_id": reply["mission_id"], "goal": reply["goal"], "answer": said}
    event = {"id": f"answer-{reply['mission_id']}-{reply['at']}", "sender": "bot-example", "command": command}
    await client.jetstream().publish(f"chat.events.{conversation}", json.dumps(event).encode())


async def main(*, given: str | None, count: int) -> None:
    """Ask and answer `count` questions, or for ever where that is 0."""
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    subscription = await client.subscribe(QUESTIONS)
    await client.flush()
    print("listening", flush=True)
    asked = 0
    async for message in subscription.messages:
        reply = json.loads(message.data)
        await tell(client, message.subject, reply, await ask(reply, given))
        asked += 1
        if asked == count:
            break
    await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answer", help="what to answer; else you are asked")
    parser.add_argument("--count", type=int, default=0, help="end after so many questions")
    options = parser.parse_args()
    try:
        asyncio.run(main(given=options.answer, count=options.count))
    except KeyboardInterrupt:
        sys.exit(130)
