"""The embedded nats-server: its life, its faults, its errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from contracts import topology
from contracts.errors import SetupError
from missions.nats_server import NatsServer
from tests.support.eventually import eventually_sync


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, connect_timeout=2, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def varz(server: NatsServer, within_s: float = 5) -> Any:
    with urllib.request.urlopen(f"{server.monitor_url}/varz", timeout=within_s) as answer:
        return json.load(answer)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def store_something(server: NatsServer) -> None:
    async with connected(server) as client:
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept"])
        await stream.publish("kept", b"x")


async def stored_messages(server: NatsServer) -> int:
    async with connected(server) as client:
        return (await client.jetstream().stream_info("KEPT")).state.messages


async def test_every_stream_of_the_topology_fits(nats_server: NatsServer) -> None:
    async with connected(nats_server) as client:
        for stream in topology.STREAMS:
            answer = await client.request(f"$JS.API.STREAM.CREATE.{stream.name}", json.dumps(stream.config).encode())
            assert "error" not in json.loads(answer.data)


def test_acknowledged_writes_are_fsynced_unless_told_otherwise(nats_server: NatsServer, tmp_path: Path) -> None:
    assert varz(nats_server)["jetstream"]["config"]["sync_always"] is True
    with NatsServer(tmp_path / "lazy", sync_always=False) as lazy:
        assert varz(lazy)["jetstream"]["config"].get("sync_always", False) is False


def test_settings_arrive_and_only_loopback_listens(nats_server: NatsServer) -> None:
    answer = varz(nats_server)
    assert answer["max_payload"] == 512 * 1024
    assert answer["host"] == answer["http_host"] == "127.0.0.1"
    assert answer["feature_flags"]["js_ack_fc_v2"] is answer["feature_flags"]["js_api_reply_v2"] is False


def test_files_are_readable_by_their_owner_only(nats_server: NatsServer) -> None:
    for name in ("nats.conf", "nats.log", "nats.lock"):
        assert stat.S_IMODE((nats_server.data_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(nats_server.data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_restart_keeps_ports_and_store(nats_server: NatsServer, end: Any) -> None:
    await store_something(nats_server)
    before = (nats_server.url, nats_server.monitor_url)
    end(nats_server)
    nats_server.restart()
    assert (nats_server.url, nats_server.monitor_url) == before
    assert await stored_messages(nats_server) == 1


async def test_new_server_on_the_same_directory_finds_the_store(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as first:
        await store_something(first)
    with NatsServer(tmp_path) as second:
        assert await stored_messages(second) == 1


def test_stop_and_kill_end_the_process_and_may_be_repeated(nats_server: NatsServer) -> None:
    for end in (nats_server.stop, nats_server.kill):
        nats_server.start()
        pid = nats_server.pid
        end()
        end()
        assert not is_alive(pid)
        assert not nats_server.running
        with pytest.raises(SetupError, match="nats-server is not running"):
            _ = nats_server.pid


def test_starting_twice_is_starting_once(nats_server: NatsServer) -> None:
    pid = nats_server.pid
    nats_server.start()
    assert nats_server.pid == pid


def test_paused_server_answers_nothing_until_it_is_resumed(nats_server: NatsServer) -> None:
    nats_server.pause()
    with pytest.raises(TimeoutError):
        varz(nats_server, within_s=0.2)
    nats_server.resume()
    assert varz(nats_server)


def test_paused_server_can_be_stopped(nats_server: NatsServer) -> None:
    pid = nats_server.pid
    nats_server.pause()
    nats_server.stop()
    assert not is_alive(pid)


def test_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from missions.nats_server import NatsServer\n"
        "with NatsServer(pathlib.Path(sys.argv[1])) as server: print(server.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    eventually_sync(lambda: not is_alive(pid))


def test_ctrl_c_of_the_terminal_does_not_reach_the_server(nats_server: NatsServer) -> None:
    assert os.getpgid(nats_server.pid) != os.getpgid(0)


def test_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"^port {port} is in use: stop what listens there, or choose another"):
            NatsServer(tmp_path, port=port).start()


def test_given_port_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with NatsServer(tmp_path, port=port) as server:
        assert server.url == f"nats://127.0.0.1:{port}"


def test_directory_in_use_is_refused(nats_server: NatsServer) -> None:
    with pytest.raises(SetupError, match=f"another nats-server uses {nats_server.data_dir}: stop it"):
        NatsServer(nats_server.data_dir).start()


def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(SetupError, match=f"nats-server cannot use {in_the_way}/nats: Not a directory"):
        NatsServer(in_the_way / "nats").start()


def test_missing_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="/nowhere/nats-server cannot be run"):
        NatsServer(tmp_path, binary=Path("/nowhere/nats-server")).start()


def test_setting_chooses_the_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_NATS_SERVER", "/nowhere/nats-server")
    with pytest.raises(SetupError, match="MISSIONS_NATS_SERVER names /nowhere/nats-server"):
        NatsServer(tmp_path).start()


def test_crash_at_start_shows_the_last_line_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "js").write_text("a file where the store should be")
    with pytest.raises(SetupError, match=r"did not start: Can't start JetStream: .* \(see .*nats\.log\)") as failure:
        NatsServer(tmp_path).start()
    assert len(str(failure.value).splitlines()) == 1


def test_server_that_died_can_be_started_again(nats_server: NatsServer) -> None:
    os.kill(nats_server.pid, signal.SIGKILL)
    eventually_sync(lambda: not nats_server.running)
    nats_server.start()
    assert nats_server.running
