"""`missions answer | retry`, and how a question is shown, as a person and a script use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from contracts.errors import NotFound
from missions import Client, Context, goal
from tests.support.eventually import eventually
from tests.support.whole import Command, whole


@goal("ship")
def ship(ctx: Context, where: str = "Rome") -> str:
    how = ctx.ask(f"Ship to {where}?\nIt is far.", Literal["air", "sea"])
    return f"{where} by {how}"


async def asked(client: Client, mission_id: str, goals: int = 1, problem: bool = False) -> dict[str, Any]:
    async def waits() -> dict[str, Any] | None:
        try:
            mission = await client.mission(mission_id)
        except NotFound:
            return None
        questions = [goal["question"] for goal in mission["goals"] if goal["question"]]
        ready = len(questions) == goals and mission["status"] == "waiting"
        return mission if ready and (not problem or questions[0].get("problem")) else None

    found: dict[str, Any] = await eventually(waits)
    return found


async def test_a_question_is_shown_and_answered(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path, ship) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        mission_id = await client.say("/run ship")
        await asked(client, mission_id)
        await client.answer(mission_id, "road")
        await asked(client, mission_id, problem=True)
        shown = await missions("show", mission_id)
        assert "goal g1 asks\n    that answer was not taken: Input should be 'air' or 'sea'\n" in shown.out
        assert "    Ship to Rome?\n    It is far.\n" in shown.out
        assert f"answer {mission_id[:10]} air|sea --goal g1" in shown.out
        right = await missions("answer", mission_id[:10], "air", "--sender", "ann", "--json")
        assert right.json == {"mission_id": mission_id, "answered": "g1", "taken": True, "status": "waiting"}
        assert (await client.wait(mission_id, 15))["result"] == "Rome by air"


async def test_what_was_asked_and_answered_is_seen_by_who_watches(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path, ship) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        mission_id = await client.say("/run ship")
        await asked(client, mission_id)
        await client.answer(mission_id, "sea", sender="ann")
        await client.wait(mission_id, 15)
        watched = (await missions("watch", mission_id)).out
        assert (
            "waiting    goal g1 (ship) waiting: Ship to Rome?; asking\n    Ship to Rome?\n    It is far.\n" in watched
        )
        assert 'goal g1 (ship) answered: "sea" by ann; answered' in watched
        late = await missions("answer", mission_id, "sea")
        assert (late.exit_code, late.err) == (1, f"Mission {mission_id} asks nothing: it is completed\n")


async def test_with_several_questions_the_goal_is_named(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path, ship) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        goals = [{"id": name, "kind": "ship", "params": {"where": name}} for name in ("Oslo", "Kiel")]
        mission_id = await client.say(goals=goals)
        await asked(client, mission_id, goals=2)
        vague = await missions("answer", mission_id, "air")
        assert vague.exit_code == 2
        assert "--goal Oslo: Ship to Oslo?" in vague.err
        assert (await missions("answer", mission_id, "air", "--goal", "Oslo")).exit_code == 0
        await client.answer(mission_id, "sea", goal="Kiel")
        assert (await client.wait(mission_id, 15))["result"] == {"Oslo": "Oslo by air", "Kiel": "Kiel by sea"}


async def test_a_mission_is_retried_and_followed(nats_url: str, tmp_path: Path) -> None:
    tries: list[int] = []

    @goal("flaky")
    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("the first one fails")
        return "better"

    async with whole(nats_url, tmp_path, flaky) as board, Client(nats_url, board.url) as client:
        missions = Command(nats_url, board.url)
        old = await client.say("/run flaky", conversation="ops")
        await client.wait(old, 15)
        followed = await missions("retry", old, "--follow")
        assert followed.exit_code == 0
        assert followed.out.splitlines()[-1].endswith('"better"')
        [new] = (await client.missions(status="completed"))["items"]
        assert (new["retry_of"], new["conversation"]) == (old, "ops")


async def test_what_completed_is_not_retried(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board, Client(nats_url, board.url) as client:
        done = await client.say("/run echo text=hi")
        await client.wait(done, 15)
        refused = await Command(nats_url, board.url)("retry", done[:10])
        assert (refused.exit_code, refused.out) == (1, "")
        assert refused.err == f"Mission {done} is completed: only what failed is retried\n"


async def test_a_text_command_is_about_the_mission_that_it_names(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path, ship) as board, Client(nats_url, board.url) as client:
        mission_id = await client.say("/run ship")
        await asked(client, mission_id)
        assert await client.say(f"/answer {mission_id} sea") == mission_id
        assert (await client.wait(mission_id, 15))["result"] == "Rome by sea"
