"""Artifacts on their way out: over HTTP, by the client, by the command line."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contracts import artifacts, subjects, topology
from contracts.errors import ContractError, Gone, NotFound, WhiteboardUnreachable
from contracts.messages import Artifact
from missions import Client
from services.executor.context import Context
from services.executor.registry import goal
from services.runtime.objects import Objects
from tests.support.broker import connected
from tests.support.watching import Board
from tests.support.whole import Command, whole

SIZE = 20 * 1024 * 1024 + 17


@goal("keep")
def keep(ctx: Context, size: int = SIZE) -> str:
    ctx.log.info("kept", size=size)
    ctx.artifact("page.html", "<script>alert(1)</script>")
    ctx.artifact("größe 1%.txt", "hi")
    return ctx.artifact("big.bin", os.urandom(size)).sha256


@goal("large")
def large(ctx: Context) -> list[int]:
    return list(range(50_000))


class Site:
    """A whole deployment with one mission that kept something."""

    def __init__(self, board: Board, client: Client, mission: dict[str, Any]) -> None:
        self.board = board
        self.client = client
        self.mission = mission
        self.path = f"/missions/{mission['mission_id']}/artifacts"

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(self._ask, path, method, headers)

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.board.url).netloc, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture
async def site(nats_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with whole(nats_url, tmp_path, keep, large) as board, Client(nats_url, board.url) as client:
        mission = await client.wait(await client.say("/run keep"))
        yield Site(board, client, mission)


async def test_artifacts_are_listed_and_streamed_whole(site: Site) -> None:
    status, _, _ = await site.ask(f"{site.path}/g1/big.bin", "HEAD")
    assert status == 200
    listed = {item["name"]: item for item in await site.client.whiteboard.artifacts(site.mission["mission_id"])}
    assert sorted(listed) == ["big.bin", "größe 1%.txt", "page.html"]
    status, headers, body = await site.ask(listed["big.bin"]["url"])
    assert (status, len(body), hashlib.sha256(body).hexdigest()) == (200, SIZE, site.mission["result"])
    assert headers["content-length"] == str(SIZE)
    assert headers["etag"] == f'"{site.mission["result"]}"'
    status, _, body = await site.ask(listed["größe 1%.txt"]["url"])
    assert (status, body) == (200, b"hi")


async def test_nothing_is_ever_shown_as_a_page(site: Site) -> None:
    status, headers, body = await site.ask(f"{site.path}/g1/page.html")
    assert (status, body) == (200, b"<script>alert(1)</script>")
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["content-security-policy"].startswith("sandbox")


async def test_head_and_a_known_etag_send_nothing(site: Site) -> None:
    status, headers, body = await site.ask(f"{site.path}/g1/big.bin", "HEAD")
    assert (status, headers["content-length"], body) == (200, str(SIZE), b"")
    status, _, body = await site.ask(f"{site.path}/g1/big.bin", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/g1/other", "/g2/big.bin", "/g1/..%2Fbig.bin"])
async def test_what_no_record_names_is_404(site: Site, path: str) -> None:
    status, headers, _ = await site.ask(site.path + path)
    assert (status, headers["content-type"]) == (404, "application/problem+json")


async def test_what_was_removed_is_410_and_the_client_says_gone(site: Site, tmp_path: Path) -> None:
    name = named(site.mission, "big.bin")
    async with connected(str(site.client.settings.nats_url)) as broker:
        await broker.bus.api(f"STREAM.PURGE.{topology.ARTIFACTS}", {"filter": subjects.artifact_meta(str(name))})
    status, headers, _ = await site.ask(f"{site.path}/g1/big.bin")
    assert (status, headers["content-type"]) == (410, "application/problem+json")
    with pytest.raises(Gone):
        await (await site.client.artifact(site.mission["mission_id"], "big.bin")).save(tmp_path / "big")
    assert not begun(tmp_path)


def begun(folder: Path) -> list[Path]:
    """Return what a fetch left, whole or not."""
    return list(folder.glob("*big*"))


def named(mission: dict[str, Any], name: str) -> artifacts.ObjectName:
    (goal_,) = mission["goals"]
    (found,) = [item for item in goal_["artifacts"] if item["name"] == name]
    artifact = Artifact(**{key: found[key] for key in ("name", "size_bytes", "sha256")})
    return artifacts.object_name(mission["mission_id"], goal_["id"], artifact)


async def test_a_transfer_that_breaks_never_looks_whole(site: Site, tmp_path: Path) -> None:
    async with connected(str(site.client.settings.nats_url)) as broker:
        meta = await Objects(broker.bus).find(named(site.mission, "big.bin"))
        chunks = subjects.artifact_chunks(meta.nuid)
        stored = await broker.bus.records(topology.ARTIFACTS, chunks)
        await broker.bus.api(f"STREAM.MSG.DELETE.{topology.ARTIFACTS}", {"seq": stored[-1].seq})
    with pytest.raises(http.client.IncompleteRead):
        await site.ask(f"{site.path}/g1/big.bin")
    with pytest.raises(WhiteboardUnreachable, match="missing"):
        await (await site.client.artifact(site.mission["mission_id"], "big.bin")).save(tmp_path / "big")
    assert not begun(tmp_path)


async def test_a_broker_that_is_away_is_a_503(site: Site, nats_server: Any) -> None:
    nats_server.stop()
    status, headers, _ = await site.ask(f"{site.path}/g1/big.bin")
    assert (status, headers["content-type"]) == (503, "application/problem+json")
    nats_server.start()
    back = await site.client.wait(await site.client.say("/run echo text=back"))
    assert back["result"] == "back"


async def test_a_reader_that_waits_holds_up_nobody(site: Site) -> None:
    host, port = urlsplit(site.board.url).hostname, urlsplit(site.board.url).port
    with socket.create_connection((host, port)) as slow:  # asks, and reads nothing
        slow.sendall(f"GET {site.path}/g1/big.bin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status, _, body = await site.ask(f"{site.path}/g1/big.bin")
        assert (status, len(body)) == (200, SIZE)


@pytest.mark.parametrize("over_http", [True, False])
async def test_the_client_reads_and_saves_what_was_kept(site: Site, tmp_path: Path, over_http: bool) -> None:
    mission_id = site.mission["mission_id"]
    url = site.board.url if over_http else None
    async with Client(site.client.settings.nats_url, url) as client:
        found = await client.artifact(mission_id, "big.bin")
        await found.save(tmp_path / "big")
        assert hashlib.sha256((tmp_path / "big").read_bytes()).hexdigest() == site.mission["result"]
        assert await (await client.artifact(mission_id, "größe 1%.txt", "g1")).read() == b"hi"
        with pytest.raises(NotFound, match=r"there are: g1/page\.html"):
            await client.artifact(mission_id, "other")


@pytest.mark.parametrize("over_http", [True, False])
async def test_a_large_result_stays_a_claim_check_until_somebody_wants_it(site: Site, over_http: bool) -> None:
    async with Client(site.client.settings.nats_url, site.board.url if over_http else None) as client:
        mission = await client.wait(await client.say("/run large\n/run large"))
        assert mission["result"]["$artifact"] == "result"
        with pytest.raises(ContractError, match="say which"):
            await client.artifact(mission["mission_id"], "result")
        data = await (await client.artifact(mission["mission_id"], "result", "g2")).read()
        assert data.startswith(b"[0,1,2,")


@pytest.mark.timeout(60)  # each command is a process
async def test_the_command_line_lists_and_fetches(site: Site, tmp_path: Path) -> None:
    missions = Command(str(site.client.settings.nats_url), site.board.url)
    mission_id, target = site.mission["mission_id"], tmp_path / "here.bin"
    listed = await missions("artifacts", mission_id[:10])
    assert "big.bin" in listed.out
    fetched = await missions("fetch", mission_id[:10], "big.bin", "-o", str(target))
    assert (fetched.exit_code, "verified" in fetched.err) == (0, True)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == site.mission["result"]
    assert (await missions("fetch", mission_id, "größe 1%.txt", "-o", "-")).out == "hi"


@pytest.mark.timeout(60)  # each command is a process
async def test_what_was_logged_is_shown_and_watched(site: Site) -> None:
    missions, mission_id = Command("", site.board.url), site.mission["mission_id"]
    shown = await missions("show", mission_id)
    assert f"kept size={SIZE}" in shown.out
    watched = await missions("watch", mission_id)
    assert f"kept size={SIZE}" in watched.out


@pytest.mark.timeout(60)  # each command is a process
async def test_a_fetch_that_cannot_be_says_why(site: Site, tmp_path: Path) -> None:
    missions, mission_id = Command("", site.board.url), site.mission["mission_id"]
    there = tmp_path / "there"
    there.touch()
    again = await missions("fetch", mission_id, "big.bin", "-o", str(there))
    assert (again.exit_code, "-f writes over it" in again.err) == (2, True)
    assert (await missions("fetch", mission_id, "nothing", "-o", str(tmp_path / "x"))).exit_code == 66
