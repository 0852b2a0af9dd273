"""Say something in chat and follow what becomes of it. Needs a running `missions up`."""

from __future__ import annotations

import asyncio

from missions import Client


async def main() -> None:
    """Say it, print each record as it comes, then print the result."""
    async with Client() as client:
        mission_id = await client.say('/run echo text="hello, world"', conversation="examples", sender="ann")
        print(f"mission {mission_id}")
        async with asyncio.timeout(30):
            async for record in client.follow(mission_id):
                print(f"{record.seq:>6}  {record.time}  {record.status}")
        mission = await client.mission(mission_id)
        print(f"result {mission['result']}")


if __name__ == "__main__":
    asyncio.run(main())
