"""Every example does what it says, against a real stack."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from missions import Client
from missions.stack import Stack
from tests.support.documented import ROOT, environment, ran
from tests.support.eventually import eventually_sync
from tests.support.orchestrating import free_port

EXAMPLES = ROOT / "examples"
GOALS = EXAMPLES / "02_goals.py"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start one stack, with the goals of the examples, for all of them."""
    with Stack(tmp_path_factory.mktemp("stack"), goals=[str(GOALS)]) as stack:
        yield stack


@contextmanager
def running(command: list[str], stack: Stack, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside the test; it logs to `log` and is killed where it outlives the test."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment(stack) | env, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def outcome(stack: Stack, text: str) -> dict[str, Any]:
    async with Client(stack.nats_url, stack.whiteboard_url) as client:
        return await client.wait(await client.say(text), seconds=20)


def fetched(url: str, data: bytes | None = None) -> Any:
    """Return the answer of a server, or nothing while there is none."""
    try:
        with urllib.request.urlopen(url, data, timeout=15) as answer:
            return json.load(answer)
    except urllib.error.URLError:
        return None


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert not [path.name for path in EXAMPLES.iterdir() if path.is_file() and path.name not in tested]


def test_saying_hello_prints_the_records_and_the_result(stack: Stack, tmp_path: Path) -> None:
    said = ran([sys.executable, str(EXAMPLES / "01_say_hello.py")], stack, cwd=tmp_path)
    assert [line.split()[-1] for line in said.splitlines()[1:4]] == ["proposed", "active", "completed"]
    assert said.splitlines()[-1] == "result hello, world"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Say hello to Ann!", "Hello, Ann!"),
        ("greet Bob", "Hello, Bob!"),
        ('/run words.count text="one two three"', {"words": 3, "longest": "three"}),
        ("import 3 rows", 3),
    ],
)
async def test_goals_answer_to_phrases_and_commands(stack: Stack, text: str, result: object) -> None:
    mission = await outcome(stack, text)
    assert (mission["status"], mission["result"]) == ("completed", result)


async def test_a_goal_is_retried_until_it_succeeds(stack: Stack) -> None:
    mission = await outcome(stack, "/run rates.fetch")
    assert mission["status"] == "completed"
    assert mission["goals"][0]["attempt"] == 3


async def test_a_goal_that_rejects_is_not_tried_again(stack: Stack) -> None:
    mission = await outcome(stack, "/run rates.fetch currency=XYZ")
    assert (mission["status"], mission["reason"]) == ("failed", "handler_rejected")
    assert mission["goals"][0]["attempt"] == 1


async def test_progress_is_seen_while_a_goal_runs(stack: Stack) -> None:
    async with Client(stack.nats_url) as client:
        mission_id = await client.say("import 300 rows")
        records = [record async for record in client.follow(mission_id)]
    assert "progress" in [record.data.get("phase") for record in records]


@pytest.mark.parametrize("options", [[], ["--live"]])
async def test_a_bot_gets_each_reply(stack: Stack, tmp_path: Path, options: list[str]) -> None:
    log = tmp_path / "bot.log"
    command = [sys.executable, str(EXAMPLES / "03_bot_replies.py"), "--count", "2", *options]
    with running(command, stack, log) as bot:
        eventually_sync(lambda: "listening" in log.read_text(), within_s=15)
        mission = await outcome(stack, "/run echo text=hi")
        assert bot.wait(15) == 0
    lines = [line.split(maxsplit=2) for line in log.read_text().splitlines() if line.startswith(mission["mission_id"])]
    assert [line[1] for line in lines] == ["accepted", "result"]
    assert lines[1][2] == "Done: hi"


async def test_a_bot_asks_a_person_and_brings_the_answer_back(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "bot.log"
    command = [sys.executable, str(EXAMPLES / "07_bot_answers.py"), "--answer", "yes", "--count", "1"]
    with running(command, stack, log) as bot:
        eventually_sync(lambda: "listening" in log.read_text(), within_s=15)
        mission = await outcome(stack, "order paper")
        assert bot.wait(15) == 0
    assert mission["result"] == "paper is ordered"
    assert f"{mission['mission_id']}  Order paper?" in log.read_text()


@pytest.mark.parametrize("options", [[], ["--live"]])
def test_ctrl_c_ends_a_bot_without_a_traceback(stack: Stack, tmp_path: Path, options: list[str]) -> None:
    log = tmp_path / "bot.log"
    with running([sys.executable, str(EXAMPLES / "03_bot_replies.py"), *options], stack, log) as bot:
        eventually_sync(lambda: "listening" in log.read_text(), within_s=15)
        bot.send_signal(signal.SIGINT)
        assert bot.wait(15) == 130
    assert "Traceback" not in log.read_text()


def test_an_executor_runs_inside_another_app(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(EXAMPLES / "04_embed_in_asgi.py")]
    with running(command, stack, tmp_path / "app.log", PORT=str(port)) as app:
        placed = eventually_sync(lambda: fetched(f"{site}/orders/7", data=b""), within_s=15)
        found = fetched(f"{site}/missions/{placed['mission_id']}")
        assert found == {"status": "completed", "result": "order 7 is confirmed"}
        assert fetched(f"{site}/orders/7", data=b"") == placed
        app.terminate()
        assert app.wait(15) in {0, -15}


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a stack whose executor may run a program, call an MCP server and ask a model, all on this machine."""
    folder, port = tmp_path_factory.mktemp("equipped"), free_port()
    server = {"command": str(Path(sys.executable).parent / "mcp-server-time"), "tools": ["get_current_time"]}
    (folder / "servers.json").write_text(json.dumps({"mcpServers": {"time": server}}))
    env = {
        "MISSIONS_COMMANDS": "lines=/usr/bin/wc -l",
        "MISSIONS_MCP_SERVERS": str(folder / "servers.json"),
        "MISSIONS_LLM_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "MISSIONS_LLM_MODELS": "small",
    }
    model = subprocess.Popen([sys.executable, ROOT / "tests/support/chat_server.py", str(port)])
    try:
        with Stack(folder / "data", env=env) as stack:
            yield stack
    finally:
        model.kill()
        model.wait()


@pytest.mark.timeout(120)  # the libraries of the kinds are imported, and a server is started
@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("08_command.py", r"2 lines\n"),
        ("09_mcp.py", r"it is 20\d\d-.*\n"),
        ("10_llm.py", r"Say hello to the team\. \n10 tokens\n"),
    ],
)
def test_a_built_in_kind_does_real_work(equipped: Stack, tmp_path: Path, example: str, said: str) -> None:
    assert re.fullmatch(said, ran([sys.executable, str(EXAMPLES / example)], equipped, cwd=tmp_path, within_s=90))


def test_an_event_of_ones_own_is_a_mission_once(stack: Stack, tmp_path: Path) -> None:
    command = ["bash", str(EXAMPLES / "05_custom_event.sh"), "release-1"]
    first, second = (ran(command, stack, cwd=tmp_path).splitlines() for _ in range(2))
    assert first[0] == second[0]
    mission = json.loads(first[1])
    assert (mission["status"], mission["result"]) == ("completed", "released")
    assert [goal["attempt"] for goal in mission["goals"]] == [1, 2, 1]
    assert first[2] == second[2]


def test_a_plan_uses_results_and_goes_on_beside_a_failure(stack: Stack, tmp_path: Path) -> None:
    said = ran([sys.executable, str(EXAMPLES / "06_plan.py")], stack, cwd=tmp_path)
    assert said.splitlines() == [
        "count   completed  {'words': 3, 'longest': 'three'}",
        "rates   completed  {'EUR': 1.0}",
        "import  completed  3",
        'report  completed  3 rows, longest three, ${rates}: {"EUR":1.0}',
        "broken  failed     the printer is on fire",
        "print   skipped    it needs broken, which has no result",
        "failed: the printer is on fire",
    ]
