"""The kind `mcp` against real servers: from PyPI, and one of ours over stdio and streamable HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import SetupError
from services.executor.context import Reject
from services.executor.outside import mcp_call, mcp_servers
from services.executor.outside.mcp_call import ServerFailed, ToolFailed
from tests.support.documented import ROOT
from tests.support.eventually import eventually, eventually_sync
from tests.support.kind_calls import KindCall
from tests.support.orchestrating import free_port
from tests.support.up import is_alive

pytestmark = pytest.mark.timeout(120)  # each starts a server, which takes seconds on a busy machine

BIN = Path(sys.executable).parent
WORKBENCH = {"command": sys.executable, "args": [str(ROOT / "tests/support/mcp_server.py"), "stdio"], "tools": ["*"]}


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Give the servers of the file that the settings name, to be changed before the first call."""
    listed: dict[str, Any] = {}
    file = tmp_path / "servers.json"
    monkeypatch.setenv("MISSIONS_MCP_SERVERS", str(file))
    mcp_servers.configured.cache_clear()

    class Written(dict[str, Any]):
        def __setitem__(self, name: str, server: Any) -> None:
            super().__setitem__(name, server)
            file.write_text(json.dumps({"mcpServers": self}))
            mcp_servers.configured.cache_clear()

    yield Written(listed)
    mcp_servers.configured.cache_clear()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Run the server over streamable HTTP; return its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, ROOT / "tests/support/mcp_server.py", "http", str(port)])
    try:
        eventually_sync(lambda: listens(port), within_s=60)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["stdio", "http"])
def workbench(request: pytest.FixtureRequest, servers: dict[str, Any]) -> str:
    over_http = request.param == "http"
    servers["workbench"] = {"url": request.getfixturevalue("site"), "tools": ["*"]} if over_http else WORKBENCH
    return "workbench"


async def called(server: str, tool: str, **arguments: Any) -> Any:
    return await KindCall("mcp", server=server, tool=tool, arguments=arguments).result()


async def test_the_time_server_tells_the_time(servers: dict[str, Any]) -> None:
    servers["time"] = {"command": str(BIN / "mcp-server-time"), "tools": ["get_current_time"]}
    told = await called("time", "get_current_time", timezone="UTC")
    assert (told["timezone"], told["is_dst"]) == ("UTC", False)
    with pytest.raises(Reject, match=r"'convert_time' of time is not allowed: add it to \"tools\" .*get_current_time"):
        await called("time", "convert_time")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
async def test_the_git_server_shows_a_repository(servers: dict[str, Any], tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "trunk", tmp_path / "repo"], check=True)  # noqa: ASYNC221, S607
    servers["git"] = {"command": str(BIN / "mcp-server-git"), "tools": ["git_status"]}
    assert "trunk" in str(await called("git", "git_status", repo_path=str(tmp_path / "repo")))
    with pytest.raises(ToolFailed, match="git/git_status: "):
        await called("git", "git_status", repo_path=str(tmp_path / "absent"))


async def test_structured_content_is_the_result(workbench: str) -> None:
    assert await called(workbench, "add", a=1, b=2) == {"total": 3}


async def test_text_is_the_result_where_there_is_nothing_more(workbench: str) -> None:
    assert await called(workbench, "say", text="hé\nllo") == "hé\nllo"


async def test_other_content_is_given_as_it_is(workbench: str) -> None:
    (part,) = await called(workbench, "picture")
    assert (part["type"], part["mimeType"], part["data"]) == ("image", "image/png", "bm90IHJlYWxseQ==")


async def test_a_tool_that_fails_says_why(workbench: str) -> None:
    with pytest.raises(ToolFailed, match=r"workbench/fail: .*no cheese"):
        await called(workbench, "fail", why="no cheese")


async def test_progress_arrives_while_the_tool_works(workbench: str) -> None:
    call = KindCall("mcp", server=workbench, tool="count", arguments={"to": 3})
    assert await call.result() == {"result": 3}
    said = call.said()
    assert said is not None
    assert said.progress is not None
    assert (said.progress.done, said.progress.total, said.progress.note) == (3, 3, "counted 3")


async def test_an_unknown_tool_or_argument_is_an_error_with_its_text(workbench: str) -> None:
    with pytest.raises((ToolFailed, Reject), match="nothing_like_this"):
        await called(workbench, "nothing_like_this")
    with pytest.raises((ToolFailed, Reject), match="add"):
        await called(workbench, "add", a="x", b=1)


async def test_cancelling_leaves_no_process_behind(servers: dict[str, Any]) -> None:
    servers["workbench"] = WORKBENCH
    call = KindCall("mcp", server="workbench", tool="hang")
    running = asyncio.ensure_future(call.result())
    said = await eventually(call.said, within_s=60)
    assert said.progress is not None
    server, child = map(int, said.progress.note.split())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: not is_alive(server))
    await eventually(lambda: not is_alive(child))


async def test_cancelling_a_call_over_http_ends_it(servers: dict[str, Any], site: str) -> None:
    servers["workbench"] = {"url": site, "tools": ["hang"]}
    call = KindCall("mcp", server="workbench", tool="hang")
    running = asyncio.ensure_future(call.result())
    await eventually(call.said, within_s=60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_server_that_crashes_is_named_with_its_last_words(servers: dict[str, Any]) -> None:
    servers["workbench"] = WORKBENCH
    with pytest.raises(ServerFailed, match=r"^workbench: .*the last it said: out of cheese$"):
        await called("workbench", "crash")


async def test_a_server_that_does_not_start_is_named_with_its_last_words(servers: dict[str, Any]) -> None:
    servers["broken"] = {"command": sys.executable, "args": ["-c", "1 / 0"], "tools": ["*"]}
    with pytest.raises(ServerFailed, match=r"^broken: .*ZeroDivisionError"):
        await called("broken", "any")


async def test_a_server_gets_its_own_environment_and_no_more(
    servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hidden")
    servers["workbench"] = WORKBENCH | {"env": {"GIVEN": "yes"}}
    names = (await called("workbench", "environment")).split()
    assert "GIVEN" in names
    assert not {"A_SECRET", "MISSIONS_MCP_SERVERS"} & set(names)


async def test_a_url_where_nobody_listens_is_worth_another_try_and_tells_no_secret(servers: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp?token=secret"
    servers["gone"] = {"url": url, "headers": {"Authorization": "Bearer secret"}, "tools": ["*"]}
    with pytest.raises(ServerFailed, match=r"^gone: no answer \(ConnectError\)$"):
        await called("gone", "any")


async def test_a_server_that_never_answers_is_given_up(
    servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_call, "CONNECT_S", 0.5)
    servers["mute"] = {"command": "/bin/sleep", "args": ["600"], "tools": ["*"]}
    with pytest.raises(ServerFailed, match=r"^mute did not answer within 0\.5 s"):
        await called("mute", "any")


async def test_what_is_not_configured_is_rejected_with_what_to_do(
    servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers["gone"] = {"command": "no-such-program", "tools": ["a"]}
    servers["off"] = {"command": "no-such-program", "tools": ["a"], "disabled": True}
    servers["shut"] = {"command": "no-such-program"}
    for server, said in {
        "off": "no MCP server 'off' in MISSIONS_MCP_SERVERS; there are: gone, shut",
        "shut": r"'a' of shut is not allowed: .*\(now: none\)",
        "gone": "gone cannot be started: there is no program 'no-such-program'",
    }.items():
        with pytest.raises(Reject, match=said):
            await called(server, "a")
    monkeypatch.delenv("MISSIONS_MCP_SERVERS")
    mcp_servers.configured.cache_clear()
    with pytest.raises(Reject, match=r'let MISSIONS_MCP_SERVERS name a file such as {"mcpServers"'):
        await called("gone", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it looks like"),
        ("{}", "mcpServers"),
        ('{"mcpServers": {"a": {"command": "x", "url": "http://y"}}}', "'a' needs either"),
        ('{"mcpServers": {"a": {}}}', "'a' needs either"),
        ('{"mcpServers": {"a": {"url": "file:///etc"}}}', "not http"),
        ('{"mcpServers": {"a": {"command": ["x"]}}}', "Expected `str`"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "servers.json").write_text(text)
    with pytest.raises(SetupError, match=said):
        mcp_servers.read(tmp_path / "servers.json")
    with pytest.raises(SetupError, match="cannot be read"):
        mcp_servers.read(tmp_path / "absent.json")
