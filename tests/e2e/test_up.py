"""`missions up`, as a person or a script runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
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
        assert set(up.ready) == {
            "nats_url", "whiteboard_url", "orchestrator_url", "monitor_url", "data_dir", "pids",
        }  # fmt: skip
        assert get(f"{up.ready['monitor_url']}/varz")["jetstream"]["config"]["sync_always"]
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
        lines = [process.stdout.readline() for _ in range(8)]
        talk = [process.stderr.readline() for _ in range(8)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        last_words = process.stderr.read().splitlines()[2:]
    assert [line.split()[0] for line in lines if line.strip()] == [
        "Missions", "whiteboard", "orchestrator", "NATS", "NATS", "journal", "logs",
    ]  # fmt: skip
    found = dict(line.rsplit(maxsplit=1) for line in lines[2:])
    assert [line.split()[0] for line in talk if line.strip()] == [
        "Try,", "export", sys.executable, "curl", "curl", "tail", sys.executable,
    ]  # fmt: skip
    names = {"NATS_URL": found["  NATS"], "MISSIONS_WHITEBOARD_URL": found["  whiteboard"]}
    assert talk[2].split()[1:] == [f"{name}={url}" for name, url in names.items()]
    assert last_words == ["Stopping; missions that run now go on when this directory is started again."]


def test_what_it_says_to_try_works_as_it_stands(tmp_path: Path) -> None:
    with missions("up", "--data-dir", str(tmp_path), *FREE_PORTS) as process:
        assert process.stderr is not None
        _, _, *tries = [process.stderr.readline().strip() for _ in range(8)]
        tries = [line for line in tries if not line.startswith("tail")]
        shell = ["/bin/bash", "-euc", "\n".join(tries)]
        ran = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "an acknowledged write is on disk" in ran.stdout


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
            assert f"choose another with {'--nats-port' if options[-1] == port else '--port'}" in line
    assert not list(tmp_path.iterdir())


def test_a_second_one_on_the_same_ports_hears_of_the_directory_first(tmp_path: Path) -> None:
    with running_up(tmp_path) as up:
        port = up.ready["whiteboard_url"].rpartition(":")[2]
        code, line = refused("up", "--data-dir", str(tmp_path), "--port", port)
        assert code == 78
        assert f"another missions up uses {tmp_path}" in line


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


@pytest.mark.parametrize(("goals", "said"), [("no.py", "no such goals file: no.py"), ("no.pi", "module: no.pi")])
def test_goals_that_are_not_there_are_refused_before_anything_is_made(tmp_path: Path, goals: str, said: str) -> None:
    code, line = refused("up", "--data-dir", str(tmp_path / "data"), *FREE_PORTS, "--goals", goals)
    assert code == 78
    assert said in line
    assert not (tmp_path / "data").exists()


def test_goals_that_cannot_be_loaded_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_the_kind\n")
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, "--goals", str(tmp_path / "bad.py"))
    assert code == 78
    assert f"executor did not start: cannot load goals from {tmp_path / 'bad.py'}" in line
    assert str(tmp_path / "logs" / "executor.log") in line


def test_an_unknown_setting_is_one_clear_line(tmp_path: Path) -> None:
    code, line = refused("up", "--data-dir", str(tmp_path), *FREE_PORTS, MISSIONS_LEASES="3")
    assert code == 78
    assert "unknown setting MISSIONS_LEASES; did you mean MISSIONS_LEASE_S?" in line


def status(whiteboard_url: str, mission_id: str) -> str:
    """Return where a mission stands; nothing while the whiteboard has not heard of it."""
    found = get(f"{whiteboard_url}/missions?limit=100")["items"]
    return next((item["status"] for item in found if item["mission_id"] == mission_id), "")
