"""`missions say | list | show | watch | cancel` as a person and a script use them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Unpack

import pytest

from contracts import ids
from missions import Client, goal
from missions.cli import silence
from missions.client import EventFields
from tests.support.broker import connected, settings_for
from tests.support.eventually import eventually
from tests.support.orchestrating import orchestrator
from tests.support.whole import Command, whole

STORY = ["proposed", "active", "completed"]


async def test_following_prints_the_story_and_exits_by_its_end(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board:
        missions = Command(nats_url, board.url)
        good, bad, unclear = await asyncio.gather(
            missions("say", "/run echo text=hi", "--follow"),
            missions("say", "/run fail", "--follow"),
            missions("say", "do something", "--follow"),
        )

    assert [line.split()[1] for line in good.out.splitlines()] == STORY
    assert good.out.endswith('"hi"\n')
    assert f"curl {board.url}/missions/" in good.err
    assert "grep" not in good.err
    assert (good.exit_code, bad.exit_code, unclear.exit_code) == (0, 1, 1)
    assert "failed as asked" in bad.out
    refusal = unclear.out.splitlines()[1:]
    assert refusal[0].split()[1:] == ["rejected", "not_understood"]
    assert refusal[1:3] == [
        "    Refused: I do not understand that.",
        "    You can run: echo, fail, sleep.",
    ]


async def test_a_whiteboard_that_does_not_know_the_mission_is_not_named(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path):
        followed = await Command(nats_url)("say", "/run echo text=hi", "--follow")

    assert (followed.exit_code, followed.err.splitlines()) == (0, [followed.err.splitlines()[0]])
    assert followed.err.startswith("mission ")


async def test_a_queue_that_nobody_ever_served_is_said_at_once(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board:
        missions = Command(nats_url, board.url)
        said, followed = await asyncio.gather(
            missions("say", "/run echo text=hi", "--queue", "gpu"),
            missions("say", "/run echo text=hi", "--queue", "gpu", "--follow", "--timeout", "5"),
        )

    told = "Nobody serves the queue gpu now: start an executor (missions executor --queues gpu)"
    assert said.err.count(told) == followed.err.count(told) == 1
    assert (said.exit_code, followed.exit_code) == (0, 75)


async def test_kinds_that_can_be_asked_for_are_listed(nats_url: str, tmp_path: Path) -> None:
    @goal("greet", phrases=["say hello to {name}"])
    def greet(name: str, often: int = 1) -> str:
        """Greet somebody."""
        return name * often

    async with whole(nats_url, tmp_path, greet):
        missions = Command(nats_url)
        listed, as_json = await asyncio.gather(missions("goals"), missions("goals", "--json"))

    (line,) = [line for line in listed.out.splitlines() if line.startswith("greet")]
    assert " ".join(line.split()) == "greet default name:string often:integer=1 say hello to {name} Greet somebody."
    (kind,) = [kind for kind in as_json.json["items"] if kind["kind"] == "greet"]
    assert (kind["queue"], kind["phrases"], kind["description"]) == (
        "default", ["say hello to {name}"], "Greet somebody.",
    )  # fmt: skip
    assert kind["params_schema"]["required"] == ["name"]


async def test_no_kinds_at_all_are_no_error(nats_url: str) -> None:
    async with connected(nats_url):
        listed = await Command(nats_url)("goals")

    assert (listed.exit_code, listed.out) == (0, "")
    assert listed.err.startswith("No executor has announced a goal kind.")


async def test_json_is_the_records_and_nothing_else(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board:
        missions = Command(nats_url, board.url)
        followed = await missions("say", "/run echo text=hi", "--follow", "--json", "--id", "evt-1")
        said = await missions("say", "/run echo text=hi", "--json", "--id", "evt-1")
        watched = await missions("watch", said.json["mission_id"], "--json")

    assert followed.err == said.err == watched.err == ""
    assert [record["data"].get("status", "proposed") for record in followed.lines] == STORY
    assert said.json["mission_id"] == followed.lines[0]["data"]["mission_id"]
    assert watched.lines == followed.lines


async def test_saying_prints_the_mission_id_alone(nats_url: str) -> None:
    async with connected(nats_url):
        said = await Command(nats_url)("say", "hello")

    assert len(said.out.strip()) == 26
    assert said.err.startswith("Accepted.")


async def test_missions_are_listed_and_shown_by_a_prefix(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        good = await client.say("/run echo text=hi", conversation="ops", title="evil \x1b[2J title")
        await client.wait(good, 10)  # events of several conversations may be proposed in any order
        bad = await client.say("/run fail")
        await client.wait(bad, 10)

        listed, filtered, paged, nothing, shown = await asyncio.gather(
            missions("list", "--status", "completed", "--status", "failed"),
            missions("list", "--conversation", "ops", "--json"),
            missions("list", "-n", "1"),
            missions("list", "--queue", "gpu"),
            missions("show", good[:8]),
        )
        recent = await missions("list", "--since", "1h", "--until", "0s", "--json")
        older = await missions("list", "--until", "1h", "--json")

    assert [line.split()[0] for line in listed.out.splitlines()] == ["MISSION", bad, good]
    assert [mission["mission_id"] for mission in recent.json["items"]] == [bad, good]
    assert older.json["items"] == []
    assert "\x1b" not in listed.out + shown.out
    assert [mission["mission_id"] for mission in filtered.json["items"]] == [good]
    assert "There are more: --cursor " in paged.err
    assert f"mission      {good}" in shown.out
    assert (nothing.exit_code, nothing.out) == (0, "")


async def test_a_mission_that_runs_on_is_waited_for_only_so_long(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        mission_id = await running(client)
        waited, watched = await asyncio.gather(
            missions("show", mission_id[:8], "--wait", "0.2"), missions("watch", mission_id[:8], "--timeout", "0.5")
        )

    assert (waited.exit_code, watched.exit_code) == (75, 75)
    assert "it is active" in waited.err
    assert [line.split()[1] for line in watched.out.splitlines()[:2]] == ["proposed", "active"]


async def test_a_mission_that_is_not_there_yet_is_waited_for_by_its_whole_id(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        later = ids.mission_id("ops", "evt-1")
        never, waiting = await asyncio.gather(
            missions("show", "a" * 26, "--wait", "0.2"), missions.start("show", later, "--wait", "15", "--json")
        )
        await client.say("/run echo text=hi", conversation="ops", id="evt-1")
        out, _ = await asyncio.wait_for(waiting.communicate(), 20)

    assert (never.exit_code, "it is unknown" in never.err) == (75, True)
    assert json.loads(out)["result"] == "hi"


@pytest.mark.parametrize("command", ["say", "watch"])
async def test_ctrl_c_says_that_the_mission_goes_on(nats_url: str, tmp_path: Path, command: str) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        mission_id = await running(client, id="evt-1")
        what = ["/run sleep seconds=60", "--id", "evt-1", "--follow"] if command == "say" else [mission_id]
        following = await Command(nats_url, board.url).start(command, *what)
        assert following.stdout is not None
        while b"active" not in await following.stdout.readline():
            pass
        following.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(following.communicate(), 10)

    first = [f"mission {mission_id}"] if command == "say" else []
    again = f"{sys.executable} -m missions watch {mission_id}"
    assert following.returncode == 130
    assert err.decode().splitlines() == [*first, f"Mission {mission_id} goes on. See what becomes of it: {again}"]


async def test_a_mission_is_cancelled_by_a_prefix_and_only_once(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        mission_id = await running(client)
        asked = await missions("cancel", mission_id[:8], "--reason", "enough")
        ended = await missions("watch", mission_id)
        again = await missions("cancel", mission_id, "--json")

    assert (asked.exit_code, ended.exit_code, again.exit_code) == (0, 1, 1)
    assert ended.out.splitlines()[-1].split()[1] == "cancelled"
    assert again.json == {"mission_id": mission_id, "asked": False, "status": "cancelled"}


async def running(client: Client, **fields: Unpack[EventFields]) -> str:
    """Say something that takes long, and wait until it has begun."""
    mission_id = await client.say("/run sleep seconds=60", **fields)
    async with aclosing(client.follow(mission_id)) as records:
        async for record in records:
            if record.status == "active":
                break
    return mission_id


async def test_everything_is_watched_until_ctrl_c(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        mission_id = await client.say("/run echo text=hi")
        await client.wait(mission_id, 10)
        watching = await Command(nats_url, board.url).start("watch", "--after", "0", "--json")
        assert watching.stdout is not None
        lines = [json.loads(await watching.stdout.readline()) for _ in STORY]
        watching.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(watching.communicate(), 10)

    assert [line["data"]["mission_id"] for line in lines] == [mission_id] * 3
    assert watching.returncode == 130
    assert err == b""


async def test_a_reader_that_has_seen_enough_is_no_error(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        watching = await Command(nats_url, board.url).start("watch", "--json")
        assert watching.stdout is not None
        watching.stdout._transport.close()  # type: ignore[attr-defined]  # as `head` does when it ends

        async def has_ended() -> bool:
            await client.say("/run echo text=hi")
            return watching.returncode is not None

        await eventually(has_ended)
        assert watching.stderr is not None
        assert await watching.stderr.read() == b""


async def test_silence_is_explained(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "_SILENT_AFTER_S", 0.02)
    told: list[str] = []

    def has_told() -> bool:
        told.extend(capsys.readouterr().err.splitlines())
        return bool(told)

    async with connected(nats_url) as broker, Client(nats_url) as client:
        mission_id = await client.say("/run echo text=hi")
        listener = silence.Silence(broker.bus)
        await eventually(has_told)
        assert told.pop().startswith("Nobody reads chat events yet: start an orchestrator")

        async with orchestrator(settings_for(nats_url)):
            async for record in client.follow(mission_id):
                listener.heard(record)
                break
            await eventually(has_told)
        assert told == ["Nobody serves the queue default now: start an executor (missions executor --queues default)"]
        listener.end()
