"""A bot that posts replies. Needs a running `missions up`; `--live` keeps no place, `--count 2` ends after two.

Speaks plain nats-py: a bot in any language does the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

REPLIES = "chat.replies.>"  # one conversation: chat.replies.<conversation>.>
DURABLE = "bot-example"


def post(reply: dict[str, str]) -> None:
    """Post a reply where the conversation is. (mission_id, kind) names it, should it come twice."""
    print(f"{reply['mission_id']}  {reply['kind']:<8}  {reply['text']}", flush=True)


async def durable(client: Client) -> AsyncIterator[Msg]:
    """Yield replies, those included that came while the bot was away; unacknowledged ones come again."""
    stream = client.jetstream()
    config = ConsumerConfig(
        durable_name=DURABLE,
        filter_subject=REPLIES,
        deliver_policy=DeliverPolicy.NEW,  # of the first start; later ones go on where the last one ended
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
    )
    await stream.add_consumer("CHAT", config)
    subscription = await stream.pull_subscribe_bind(durable=DURABLE, stream="CHAT")
    print("listening", flush=True)
    while True:
        try:
            messages = await subscription.fetch(10, timeout=2)
        except NothingCame:
            continue
        for message in messages:
            yield message
            await message.ack()


async def live(client: Client) -> AsyncIterator[Msg]:
    """Yield replies from now on, at most once each: what comes while the bot is away is missed."""
    subscription = await client.subscribe(REPLIES)
    await client.flush()
    print("listening", flush=True)
    async for message in subscription.messages:
        yield message


async def main(*, is_live: bool, count: int) -> None:
    """Post `count` replies, or for ever where that is 0."""
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    posted = 0
    async for message in live(client) if is_live else durable(client):
        post(json.loads(message.data))
        posted += 1
        if posted == count:
            break
    await client.flush()
    await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="core NATS instead of a durable consumer")
    parser.add_argument("--count", type=int, default=0, help="end after so many replies")
    options = parser.parse_args()
    try:
        asyncio.run(main(is_live=options.live, count=options.count))
    except KeyboardInterrupt:
        sys.exit(130)
