"""The documentation says what is so: pages are generated, links resolve, and what they show is run."""

from __future__ import annotations

import asyncio
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import msgspec
import nats
import pytest

from contracts import codec, schema_export
from contracts.messages import StatusRecord
from missions import Client, journal_lines
from missions.cli import COMMANDS, cli
from missions.nats_config import render_config
from missions.nats_server import find_server
from missions.stack import Stack
from services.executor import runner
from services.executor.service import serve as serve_executor
from services.orchestrator.service import serve as serve_orchestrator
from services.runtime import chat_http, streams
from services.runtime.bus import Bus
from services.runtime.process import Stop
from services.runtime.settings import Settings, load
from services.whiteboard import record
from services.whiteboard.service import serve as serve_whiteboard
from tests.support.documented import ROOT, blocks, put_missions_in, ran
from tests.support.eventually import eventually
from tests.support.orchestrating import free_port

README = ROOT / "README.md"
DOCS = ROOT / "docs"
MESSAGES = DOCS / "messages.md"
GUIDE = DOCS / "writing-goals.md"
PAGES = [README, ROOT / "AGENTS.md", ROOT / "llms.txt", *sorted(DOCS.rglob("*.md"))]
GENERATED: dict[str, Any] = runpy.run_path(str(DOCS / "generate.py"))

_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`((?:contracts|services|missions|tests|examples|docs|deploy|benchmarks)/[\w./-]+)(?:::(\w+))?`")
_INLINE_COMMAND = re.compile(r"`(missions [a-z][^`]*)`")
_METRIC = re.compile(r'metrics\.(counter|gauge|histogram)\(\s*"(\w+)"')


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", sorted(GENERATED["PAGES"]))
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == GENERATED["rendered"](name), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_path_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in _LINK.findall(text):
        assert (page.parent / target).exists(), target
    for path, test in _PATH.findall(text):
        assert (ROOT / path).exists(), path
        assert not test or re.search(rf"def {test}\(", (ROOT / path).read_text()), f"{path}::{test}"


def test_every_decision_is_listed_and_whole() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        for part in ("## Context", "## Decision", "## Consequences"):
            assert part in path.read_text(), f"{path.name}: {part}"


def command_lines(page: Path) -> Iterator[str]:
    """Yield every command of ours that a page shows."""
    yield from _INLINE_COMMAND.findall(page.read_text())
    for block in blocks(page, "sh", "console"):
        for line in block.text.splitlines():
            found = re.match(r"(?:\$ )?(?:\w+=\$\()?(missions .*?)\)?(?: +#.*| \|\| .*)?$", line)
            if found:
                yield found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_takes_its_options(page: Path) -> None:
    for line in command_lines(page):
        text = line + next((quote for quote in "\"'" if line.count(quote) % 2), "")  # a text of several lines
        name, *arguments = shlex.split(text.replace("…", "x"))[1:]
        assert name in COMMANDS, line
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        try:
            command.make_context(name, arguments)
        except click.MissingParameter:
            assert not arguments, line
        except click.exceptions.Exit:
            pytest.fail(line)


@pytest.mark.parametrize("block", blocks(MESSAGES, "json"))
def test_every_message_is_as_its_schema_says(block: Any) -> None:
    if block.about:
        jsonschema.validate(msgspec.json.decode(block.text), schema_export.schema_of(block.about))
    if block.about in {"", "chat_event"}:
        assert chat_http.parse(block.text.encode()).conversation == "ops"


def test_the_line_of_the_journal_is_whole() -> None:
    lines = [block.text.strip() for block in blocks(MESSAGES, "json") if block.text.startswith('{"seq"')]
    assert [record.decode_line(line.encode()).seq for line in lines] == [3]


@pytest.mark.parametrize(
    "block", [block for block in blocks(MESSAGES, "json") if block.about in {"mission", "status", "reply"}]
)
def test_a_message_is_shown_with_every_field_that_it_carries(block: Any) -> None:
    decode = {"mission": codec.decode_mission, "status": codec.decode_status, "reply": codec.decode_reply}
    message = decode[block.about](block.text.encode())
    assert msgspec.json.decode(block.text) == msgspec.json.decode(codec.encode(message))


def test_a_line_of_the_journal_shows_every_field_of_its_record() -> None:
    (line,) = [block.text for block in blocks(MESSAGES, "json") if block.text.startswith('{"seq"')]
    assert journal_lines.decode(line.encode()).data.keys() == set(StatusRecord.__struct_fields__)


def test_what_is_published_with_the_nats_command_is_understood() -> None:
    (block,) = blocks(MESSAGES, "nats")
    for line in block.text.splitlines():
        _, verb, subject, body = shlex.split(line)
        assert (verb, subject.split(".")[:2]) == ("pub", ["chat", "events"])
        event = codec.decode_chat_event(body.encode(), conversation="ops", fallback_id="x")
        assert event.text or event.goals


def test_every_phase_reason_and_filter_is_explained() -> None:
    text = MESSAGES.read_text()
    words = {value for name, value in vars(runner).items() if name.isupper() and isinstance(value, str) and value}
    planners = "".join(path.read_text() for path in (ROOT / "services/orchestrator").rglob("*.py"))
    words |= set(re.findall(r'Refused\("(\w+)"', planners))
    assert not sorted(word for word in words if f"`{word}`" not in text)


def test_every_metric_is_explained() -> None:
    source = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    ending = {"counter": "_total", "gauge": "", "histogram": ""}
    known = {f"missions_{name}{ending[kind]}" for kind, name in _METRIC.findall(source)}
    rows = re.findall(r"^\| `(missions_\w+)", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(known)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Make the directory that a reader works in: the files of the README, and a `missions` command."""
    for block in blocks(README, "python"):
        (tmp_path / block.text.partition("\n")[0].removeprefix("# ")).write_text(block.text)
    (tmp_path / "guide.py").write_text("\n\n".join(block.text for block in blocks(GUIDE, "python")))
    put_missions_in(tmp_path / "bin")
    return tmp_path


@pytest.mark.e2e
@pytest.mark.timeout(90)  # it starts a stack of its own
def test_the_tests_of_the_readme_pass(desk: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "test_goals.py"]  # as pasted: pytest alone
    env = {"PYTHONPATH": str(ROOT), "PATH": str(desk / "bin")}
    done = subprocess.run(command, cwd=desk, env=env, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.timeout(240)  # twenty commands, each a process
@pytest.mark.parametrize(
    ("page", "goals"),
    [
        (README, "goals.py"),
        (GUIDE, "guide.py"),
        (DOCS / "operations.md", "goals.py"),
        (DOCS / "kinds.md", "goals.py"),
        (DOCS / "http.md", "goals.py"),
    ],
)
def test_the_shell_lines_of_a_page_run(desk: Path, page: Path, goals: str) -> None:
    script = "\n".join(block.text for block in blocks(page, "sh"))
    with Stack(desk / "missions-data", goals=[str(desk / goals)]) as stack:
        for shown, here in {":8080": stack.whiteboard_url, ":8081": stack.orchestrator_url}.items():
            script = script.replace(f"http://127.0.0.1{shown}", here)
        shell = ["bash", "-euxo", "pipefail", "-c", script]
        assert ran(shell, stack, cwd=desk, commands=desk / "bin", within_s=200)


FORBIDDEN = {
    "orchestrator": [
        "kinds.default.echo",
        "deadletters.executor",
        "$JS.ACK.MISSIONS.executor-default.1",
        "$JS.API.CONSUMER.MSG.NEXT.MISSIONS.executor-default",
    ],
    "executor": [
        "missions.proposed.default.x",
        "missions.status.gpu.x",
        "kinds.gpu.echo",
        "chat.events.ops",
        "chat.replies.ops.x.result",
        "chat.schedules.x",
        "$JS.ACK.MISSIONS.orchestrator.1",
    ],
    "whiteboard": [
        "missions.proposed.default.x",
        "missions.status.default.x",
        "chat.replies.ops.x.result",
        "$O.ARTIFACTS.M.x",
    ],
    "client": [
        "missions.proposed.default.x",
        "missions.status.default.x",
        "chat.replies.ops.x.result",
        "chat.due.ops",
        "$O.ARTIFACTS.C.x",
        "$O.ARTIFACTS.M.x",
    ],
}
#: What no service and no client may do.
RESERVED = [
    "missions.proposed",
    "missions.status",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.UPDATE.MISSIONS",
    "$JS.API.STREAM.DELETE.MISSIONS",
    "$JS.API.STREAM.PURGE.MISSIONS",
    "$JS.API.STREAM.MSG.DELETE.MISSIONS",
    "$JS.API.STREAM.PURGE.OBJ_ARTIFACTS",
    "$JS.API.STREAM.MSG.DELETE.OBJ_ARTIFACTS",
    "$JS.API.CONSUMER.CREATE.MISSIONS.other",
    "$JS.API.CONSUMER.DELETE.MISSIONS.whiteboard",
    "_INBOX_setup.x",
]
OVERHEARD = [">", "missions.>", "chat.>", "$JS.>", "_INBOX.>", "_INBOX_setup.>"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """Start a nats-server with the documented permissions; return its URL with a place for the user."""
    (block,) = blocks(DOCS / "operations.md", "conf")
    port = free_port()
    (tmp_path / "nats.conf").write_text(render_config(tmp_path / "nats", port=port) + block.text)
    (tmp_path / "nats").mkdir()
    with (tmp_path / "nats.log").open("wb") as log:
        server = subprocess.Popen([find_server(None), "-c", tmp_path / "nats.conf"], stderr=log)
    try:
        yield f"nats://{{}}:change-me@127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.integration
async def test_services_run_with_the_documented_permissions_and_no_more(guarded: str, tmp_path: Path) -> None:
    await made_by_admin(guarded)
    stop = Stop()
    async with asyncio.TaskGroup() as services:
        for name, serve in (
            ("orchestrator", serve_orchestrator),
            ("executor", serve_executor),
            ("whiteboard", serve_whiteboard),
        ):
            services.create_task(serve(settings_of(guarded, name, tmp_path), stop))
        try:
            await does_its_work(guarded)
        finally:
            stop.set()
    assert "Violation" not in (tmp_path / "nats.log").read_text()
    for user, subjects in FORBIDDEN.items():
        assert await denied(guarded.format(user), [*subjects, *RESERVED]) == len(subjects) + len(RESERVED) + len(
            OVERHEARD
        )


def settings_of(guarded: str, user: str, folder: Path) -> Settings:
    return load(nats_url=guarded.format(user), manage_streams=False, http_port=0, data_dir=folder)


async def made_by_admin(guarded: str) -> None:
    """Do what `missions setup` does, once the server is there."""

    async def connected() -> Bus | None:
        try:
            return await Bus.connect(load(nats_url=guarded.format("admin")), "setup")
        except OSError:
            return None

    bus = await eventually(connected)
    await streams.apply(bus, ("default",), 30, manage=True)
    await bus.close()


async def does_its_work(guarded: str) -> None:
    """Have one mission completed, one with a large result, one cancelled while it runs, one refused."""
    async with Client(guarded.format("client")) as client, asyncio.timeout(20):
        mission_id = await client.say("/run echo text=hi", deadline_s=60)
        assert (await client.wait(mission_id))["result"] == "hi"
        mission_id = await client.say(goals=[{"kind": "echo", "params": {"text": "x" * 70_000}}])
        await client.wait(mission_id)
        assert await (await client.artifact(mission_id, "result")).read() == b'"' + b"x" * 70_000 + b'"'
        mission_id = await client.say("/run sleep seconds=60")
        async for change in client.follow(mission_id):
            if change.status == "active" and not change.data.get("phase"):
                await client.cancel(mission_id)
        assert change.status == "cancelled"
        assert (await client.wait(await client.say("what nobody understands")))["status"] == "rejected"


async def denied(url: str, subjects: list[str]) -> int:
    """Publish to each subject and listen where others are spoken to; return how often the server refused."""
    refusals: list[str] = []

    async def on_error(error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            refusals.append(str(error))

    client = await nats.connect(url, error_cb=on_error)
    for subject in subjects:
        await client.publish(subject, b"x")
    for subject in OVERHEARD:
        await client.subscribe(subject)
    await client.flush()
    wanted = len(subjects) + len(OVERHEARD)
    try:
        await eventually(lambda: len(refusals) >= wanted, within_s=3)
    except AssertionError:
        pytest.fail(f"{url}: only {refusals}")
    finally:
        await client.close()
    return len(refusals)
