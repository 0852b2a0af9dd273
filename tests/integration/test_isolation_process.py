"""A handler in a process of its own: whatever it does, its executor knows how it ended, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contracts.errors import SetupError
from services.executor.failing import GoalFailed
from services.executor.isolation import zygote_process
from services.executor.isolation.process import HandlerProcesses
from services.executor.loading import load_registry
from services.executor.registry import goal
from services.runtime.settings import Settings
from tests.support import hostile
from tests.support.eventually import eventually
from tests.support.placed import Trial, is_alive, registry_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation='process' needs Linux"),
]

REGISTRY = registry_of(*hostile.HOSTILE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[HandlerProcesses]:
    place = HandlerProcesses(REGISTRY, Settings(processes=4))
    await place.start()
    yield place
    place.close()


def begin(place: HandlerProcesses, kind: str, **params: Any) -> Trial:
    return Trial(place, REGISTRY, kind, params, grace_s=10)


async def run(place: HandlerProcesses, kind: str, **params: Any) -> Any:
    return await begin(place, kind, **params).task


async def failed(place: HandlerProcesses, kind: str, **params: Any) -> GoalFailed:
    with pytest.raises(GoalFailed) as caught:
        await run(place, kind, **params)
    assert (await run(place, "p.add", a=1))["sum"] == 2  # the next one runs as if nothing had been
    return caught.value


async def test_params_progress_and_result_cross(place: HandlerProcesses) -> None:
    trial = begin(place, "p.add", a=2)
    result = await trial.task
    assert result["sum"] == 3
    assert result["pid"] not in {os.getpid(), result["ppid"]}
    said = trial.report.take()
    assert said is not None
    assert said.progress is not None
    assert (said.progress.done, said.progress.total, said.progress.note) == (1, 2, "half")
    assert await run(place, "p.add.async", a=2) == 3


async def test_a_handler_has_a_folder_of_its_own_and_few_things_of_its_executor(
    place: HandlerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSIONS_NATS_URL", "nats://secret@host")
    monkeypatch.setenv("NATS_PASSWORD", "secret")
    found = await run(place, "p.environment")
    assert not [name for name in found["names"] if name.startswith(("MISSIONS_", "NATS_", "PYTEST_"))]
    assert {"PATH", "TMPDIR"} <= set(found["names"])
    assert found["descriptors"] == ["anon_inode", "socket"]  # the selector of the zygote, and its line
    assert found["session"]
    assert found["no_new_privs"]
    folder = Path((await run(place, "p.add", a=1))["cwd"])
    assert not list(folder.parent.iterdir())


@pytest.mark.parametrize(
    ("kind", "params", "reason", "words"),
    [
        ("p.burns", {}, "cpu_limit", "more than 1 s of CPU"),
        ("p.eats", {}, "memory_limit", "more than 400 MB"),
        ("p.prints", {}, "output_limit", "more than 64 KB"),
        ("p.garbles", {}, "garbled", "no message of ours"),
        ("p.exits", {"code": 3}, "handler_exit", "exit code 3; the last it printed: so long"),
        ("p.exits", {"code": 0}, "handler_exit", "exit code 0"),
        ("p.kills.itself", {}, "handler_exit", "SIGKILL"),
        ("p.kills.itself", {"number": int(signal.SIGTERM)}, "handler_exit", "SIGTERM"),
        ("p.crashes", {}, "handler_exit", "SIGSEGV; the last it printed"),
        ("p.raises", {"which": "value"}, "handler_error", "bad value"),
        ("p.raises", {"which": "exit"}, "handler_exit", "4"),
        ("p.raises", {"which": "keyboard"}, "handler_exit", ""),
        ("p.raises", {"which": "base"}, "handler_exit", "bare"),
        ("p.raises", {"which": "reject"}, "handler_rejected", "never"),
        ("p.strange", {}, "bad_result", "cannot be written as JSON"),
        ("p.huge", {}, "result_too_large", "keep it with ctx.artifact"),
    ],
)
async def test_every_way_to_end_has_its_reason(
    place: HandlerProcesses, kind: str, params: dict[str, Any], reason: str, words: str
) -> None:
    error = await failed(place, kind, **params)
    assert error.reason == reason
    assert words in error.failure.message


async def test_an_error_brings_its_traceback_along(place: HandlerProcesses) -> None:
    error = await failed(place, "p.raises", which="value")
    assert error.failure.type == "ValueError"
    assert "hostile.py" in str(error.__cause__)


async def test_what_a_handler_prints_does_not_fill_the_memory_of_its_executor(place: HandlerProcesses) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await failed(place, "p.prints.much")).reason == "output_limit"  # after 50 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB


@pytest.mark.parametrize("stop", [False, True])
async def test_nothing_that_a_handler_forked_outlives_it(place: HandlerProcesses, tmp_path: Path, stop: bool) -> None:
    file = tmp_path / "pids"
    file.touch()
    trial = begin(place, "p.forks", file=str(file), wait_s=600 if stop else 0)
    await eventually(lambda: len(file.read_bytes().split()) == 2)
    if stop:
        trial.report.grace_s = 0.1
        assert not (await trial.cancelled()).detached
    else:
        assert await trial.task == "left them"
    assert not [pid for pid in file.read_text().split() if is_alive(int(pid))]


async def test_a_child_that_comes_back_from_the_handler_says_nothing(place: HandlerProcesses) -> None:
    assert await run(place, "p.returns.twice") == "parent"


async def test_a_flood_of_words_holds_up_nobody(place: HandlerProcesses) -> None:
    flood = begin(place, "p.floods")
    await eventually(flood.report.take)
    assert (await run(place, "p.add", a=1))["sum"] == 2
    await flood.cancelled()


@pytest.mark.parametrize(
    ("kind", "left"), [("p.watchful", "stopped"), ("p.cancelled", "cancelled"), ("p.stubborn", None)]
)
async def test_a_wish_to_stop_reaches_the_process_and_who_does_not_hear_it_is_killed(
    place: HandlerProcesses, tmp_path: Path, kind: str, left: str | None
) -> None:
    file = tmp_path / "trace"
    trial = begin(place, kind, file=str(file))
    pid = int(await eventually(lambda: file.exists() and file.read_text()))
    report = await trial.cancelled()
    assert report.stopped
    assert not report.detached
    assert not is_alive(pid)
    assert file.read_text() == (left or str(pid))


async def test_a_handler_whose_mission_has_another_owner_gets_no_grace(place: HandlerProcesses, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    trial = begin(place, "p.watchful", file=str(file))
    pid = int(await eventually(lambda: file.exists() and file.read_text()))
    trial.report.fenced = True
    trial.report.grace_s = 600
    await trial.cancelled()
    assert not is_alive(pid)


async def test_no_more_run_at_once_than_allowed(place: HandlerProcesses, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(6)]
    trials = [begin(place, "p.watchful", file=str(file)) for file in files]
    await eventually(lambda: sum(file.exists() for file in files) == 4)
    for trial in trials[:4]:
        await trial.cancelled()
    await eventually(lambda: all(file.exists() for file in files))
    for trial in trials[4:]:
        await trial.cancelled()


async def test_a_zygote_that_is_killed_fails_its_tries_and_is_replaced(tmp_path: Path) -> None:
    place = HandlerProcesses(REGISTRY, Settings())
    bystander = begin(place, "p.watchful", file=str(tmp_path / "bystander"))
    pid = int(await eventually(lambda: (tmp_path / "bystander").exists() and (tmp_path / "bystander").read_text()))
    error = await failed(place, "p.kills.zygote", file=str(tmp_path / "grandchild"))
    assert error.reason == "worker_lost"
    with pytest.raises(GoalFailed, match="worker_lost"):
        await bystander.task
    grandchild = int((tmp_path / "grandchild").read_text())
    await eventually(lambda: not is_alive(pid) and not is_alive(grandchild))
    place.close()


async def test_a_zygote_that_a_handler_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote_process, "BEGIN_WITHIN_S", 0.3)
    place = HandlerProcesses(REGISTRY, Settings())
    await place.start()
    stopping = begin(place, "p.stops.zygote")
    assert place._zygote is not None
    zygote = Path(f"/proc/{place._zygote.pid}/stat")
    await eventually(lambda: zygote.read_text().rpartition(")")[2].split()[0] == "T")
    with pytest.raises(GoalFailed, match="worker_lost"):
        await run(place, "p.add", a=1)
    await asyncio.wait({stopping.task})
    assert (await run(place, "p.add", a=1))["sum"] == 2
    place.close()


async def test_the_end_of_a_place_is_the_end_of_its_processes_and_files(tmp_path: Path) -> None:
    place = HandlerProcesses(REGISTRY, Settings())
    trial = begin(place, "p.stubborn", file=str(tmp_path / "trace"))
    pid = int(await eventually(lambda: (tmp_path / "trace").exists() and (tmp_path / "trace").read_text()))
    assert place._zygote is not None
    place.close()
    assert not is_alive(pid)
    assert not is_alive(place._zygote.pid)
    assert not place._zygote.folder.exists()
    with pytest.raises(GoalFailed, match="worker_lost"):
        await trial.task


async def test_goals_that_a_child_process_cannot_import_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wants_environment.py"
    file.write_text(
        "import os\nfrom missions import goal\nos.environ['SECRET_URL']\n"
        "@goal('mine', isolation='process')\ndef mine() -> str:\n    return os.environ['SECRET_URL']\n"
    )
    monkeypatch.setenv("SECRET_URL", "s3://x")
    registry = load_registry((str(file),))
    with pytest.raises(SetupError, match=r"KeyError: 'SECRET_URL'.*MISSIONS_HANDLER_ENV"):
        await HandlerProcesses(registry, Settings()).start()
    place = HandlerProcesses(registry, Settings(handler_env=("SECRET_URL",)))
    await place.start()
    assert await Trial(place, registry, "mine", {}, 1).task == "s3://x"
    place.close()


def refused(function: Any) -> str:
    with pytest.raises(SetupError) as caught:
        registry_of(function)
    return str(caught.value)


async def test_what_does_not_fit_its_place_is_refused_with_file_and_line() -> None:
    @goal("x", isolation="loop")
    def sync() -> None: ...

    @goal("x", isolation="thread")
    async def asynchronous() -> None: ...

    @goal("x", isolation="treads")
    def misspelt() -> None: ...

    @goal("x", isolation="process")
    def inner() -> None: ...

    @goal("x", memory_mb=100)
    def unlimited() -> None: ...

    @goal("x", isolation="process", memory_mb=-1)
    def negative() -> None: ...

    for function, words in {
        sync: "isolation='loop' is for async",
        asynchronous: "isolation='thread' is for sync",
        misspelt: "did you mean 'thread'?",
        inner: "define it at the top of a module",
        unlimited: "memory_mb needs isolation='process'",
        negative: "memory_mb=-1 is not a number above 0",
    }.items():
        message = refused(function)
        assert words in message
        assert "test_isolation_process.py:" in message
