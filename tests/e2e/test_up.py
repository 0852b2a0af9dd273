"""`missions up`, as a person or a script runs it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from missions.nats_server import NatsServer
from tests.support.eventually import eventually_sync
from tests.support.up import (
    FREE_PORTS,
    completes,
    eventually_dead,
    get,
    is_alive,
    missions,
    outcome,
    refused,
    running_up,
    say,
    without_error,
)

pytestmark = pytest.mark.timeout(120)


def test_one_line_says_what_is_where_when_everything_is_ready(tmp_path: Path) -> None:
    with running_up(tmp_path, "--executors", "2") as up:
        assert set(up.ready) == {"nats_url", "whiteboard_url", "orchestrator_url", "data_dir", "pids"}
        assert up.ready["data_dir"] == str(tmp_path)
        assert without_error(up.ready["whiteboard_url"], up.ready["orchestrator_url"])
        assert len(up.ready["pids"]["executor"]) == 2
        assert all(is_alive(pid) for pid in up.pids)
        assert completes(up.ready)
        code, more = up.end(signal.SIGTERM)
        assert (code, more) == (0, "")


def test_a_person_reads_what_is_where_and_what_to_try(tmp_path: Path) -> None:
    with missions("up", "--data-dir", str(tmp_path), *FREE_PORTS) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(7)]
        talk = [process.stderr.readline() for _ in range(6)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert [line.split()[0] for line in lines if line.strip()] == [
        "Missions", "whiteboard", "orchestrator", "NATS", "journal", "logs",
    ]  # fmt: skip
    assert [line.split()[0] for line in talk if line.strip()] == ["Try,", "missions", "curl", "curl", "tail"]


def test_sigterm_ends_every_child_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:
        mission_id = say(up.ready["orchestrator_url"], "/run echo text=kept")
        assert outcome(up.ready["whiteboard_url"], mission_id)["result"] == "kept"
        code, _ = up.end(signal.SIGTERM)
        assert code == 0
        assert not any(is_alive(pid) for pid in up.pids)
    with running_up(tmp_path) as again:
        assert get(f"{again.ready['whiteboard_url']}/missions/{mission_id}")["result"] == "kept"
        assert completes(again.ready)


def test_ctrl_c_ends_everything_without_a_traceback_also_what_runs(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:
        mission_id = say(up.ready["orchestrator_url"], "/run sleep seconds=600")
        eventually_sync(lambda: status(up.ready["whiteboard_url"], mission_id) == "active")
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(20) == 130
        assert up.process.stderr is not None
        assert up.process.stderr.read() == ""
        assert not any(is_alive(pid) for pid in up.pids)


def test_a_second_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:

        def interrupted() -> bool:
            up.process.send_signal(signal.SIGINT)
            return up.process.poll() is not None

        eventually_sync(interrupted)
        assert up.process.returncode == 130
        assert up.process.stderr is not None
        assert "Traceback" not in up.process.stderr.read()
        eventually_dead(up.pids)


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with missions("up", "--data-dir", str(tmp_path), "--json", *FREE_PORTS) as process:
        eventually_sync((tmp_path / "logs" / "whiteboard.log").exists)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    with NatsServer(tmp_path / "nats"):
        pass  # the broker let go of its store


def test_every_child_that_is_killed_comes_back(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:
        for pid in up.pids:
            os.kill(pid, signal.SIGKILL)
        eventually_sync(lambda: not any(is_alive(pid) for pid in up.pids))
        eventually_sync(lambda: without_error(up.ready["whiteboard_url"], up.ready["orchestrator_url"]), 30)
        assert completes(up.ready)
        assert up.end(signal.SIGTERM)[0] == 0


def test_kill_9_leaves_no_child(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:
        up.process.kill()
        eventually_dead(up.pids)


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options in (["--port", port, "--nats-port", "0"], ["--port", "0", "--nats-port", port]):
            code, line = refused("up", "--data-dir", str(tmp_path), *options)
            assert code == 78
            assert f"port {port} is in use" in line
            assert "choose another" in line


def test_a_directory_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with running_up(tmp_path):
        code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS)
        assert code == 78
        assert f"another missions up uses {tmp_path}: stop it, or choose another with --data-dir" in line


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, line = refused("up", "--data-dir", str(tmp_path / "file" / "data"), *FREE_PORTS)
    assert code == 78
    assert "cannot use" in line
    assert "Not a directory" in line


def test_a_missing_binary_is_one_clear_line(tmp_path: Path) -> None:
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, MISSIONS_NATS_SERVER="/nowhere/nats-server")
    assert code == 78
    assert "MISSIONS_NATS_SERVER names /nowhere/nats-server" in line


def test_an_old_server_is_one_clear_line(tmp_path: Path) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho nats-server: v2.10.1\n")
    old.chmod(0o700)
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, MISSIONS_NATS_SERVER=str(old))
    assert code == 78
    assert "2.10.1" in line
    assert "is too old" in line


def test_goals_that_cannot_be_loaded_are_one_clear_line(tmp_path: Path) -> None:
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, "--goals", str(tmp_path / "no.py"))
    assert code == 78
    assert f"executor did not start: no such goals file: {tmp_path / 'no.py'}" in line
    assert str(tmp_path / "logs" / "executor.log") in line


def test_an_unknown_setting_is_one_clear_line(tmp_path: Path) -> None:
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, MISSIONS_LEASES="3")
    assert code == 78
    assert "unknown setting MISSIONS_LEASES; did you mean MISSIONS_LEASE_S?" in line


def status(whiteboard_url: str, mission_id: str) -> str:
    """Return where a mission stands; nothing while the whiteboard has not heard of it."""
    found = get(f"{whiteboard_url}/missions?q={mission_id}&limit=100")["items"]
    return next((item["status"] for item in found if item["mission_id"] == mission_id), "")
