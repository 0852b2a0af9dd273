"""The pytest plugin as somebody's project uses it: pytest runs in a process and a folder of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documented import ROOT, blocks

pytestmark = pytest.mark.timeout(180)

PAGE = ROOT / "docs" / "testing.md"
HEAVY = {"nats", "pydantic", "starlette", "uvicorn", "structlog", "msgspec", "testcontainers", "click"}


class Project:
    """A folder with tests, and pytest run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def pytest(self, *options: str) -> tuple[int, str]:
        """Run pytest as it comes, with our plugin alone beside it; return its exit code and what it printed."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *options]
        command += [] if "-n" in options else ["-p", "no:xdist"]
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        ran = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_project_that_has_no_use_for_it_imports_nothing(project: Project) -> None:
    project.write(
        "test_nothing.py", f"import sys\ndef test_it() -> None:\n    assert not {HEAVY!r} & set(sys.modules)\n"
    )
    code, said = project.pytest("-q", "--strict-markers", "--strict-config")
    assert code == 0, said
    assert "warning" not in said


def test_the_help_says_what_can_be_chosen(project: Project) -> None:
    _, said = project.pytest("--help")
    for option in ("--missions-backend", "--missions-image", "--missions-nats-url", "--missions-goals"):
        assert option in said


GOALS = """
from missions import goal

@goal("count")
def count(text: str) -> int:
    return len(text.split())
"""
TESTS = """
import pytest

from missions import goal
from missions.testing import MissionsClient, MissionStack, Unsupported

@goal("reverse")
def reverse(text: str) -> str:
    return text[::-1]

def test_a_goal_of_the_project(missions_client: MissionsClient) -> None:
    assert missions_client.run("/run count text='a b'").result == 2

def test_a_goal_of_the_test(missions_client: MissionsClient) -> None:
    missions_client.serve(reverse)
    assert missions_client.run("/run reverse text=abc").result == "cba"

@pytest.mark.missions_drill
def test_a_drill_leaves_it_broken(missions_stack: MissionStack) -> None:
    missions_stack.kill("executor")
    missions_stack.pause("orchestrator")

def test_the_next_one_finds_it_whole(missions_stack: MissionStack) -> None:
    assert missions_stack.run("/run count text=a").result == 1
"""


@pytest.mark.parametrize("options", [(), ("-n", "2", "-p", "xdist")], ids=["alone", "xdist"])
def test_the_fixtures_do_what_they_say(project: Project, options: tuple[str, ...]) -> None:
    project.write("goals.py", GOALS)
    project.write("test_it.py", TESTS)
    code, said = project.pytest("-q", "--strict-markers", "--missions-goals", "goals.py", *options)
    assert code == 0, said
    assert "4 passed" in said


def test_goals_may_stand_in_the_configuration(project: Project) -> None:
    project.write("goals.py", GOALS)
    project.write("test_it.py", TESTS)
    with (project.folder / "pytest.ini").open("a") as settings:
        settings.write("missions_goals = goals.py\n")
    code, said = project.pytest("-q", "-k", "of_the_project")
    assert code == 0, said


def test_an_unknown_backend_is_refused_with_the_known_ones(project: Project) -> None:
    project.write("test_it.py", TESTS)
    _, said = project.pytest("-q", "-k", "of_the_project", "--missions-backend", "kubernetes")
    assert "known: process, containers, attach" in said
    _, said = project.pytest("-q", "-k", "of_the_project", "--missions-backend", "attach")
    assert "--missions-nats-url" in said


CONTRACT = """
import asyncio, time

import pytest

from missions import Context, goal
from missions.testing import check_goal

done = []

@goal("good", timeout=5)
async def good(ctx: Context, rows: int) -> dict[str, int]:
    for row in range(rows):
        ctx.progress(row, rows)
        await asyncio.sleep(0.02)
    if ctx.idempotency_key not in done:
        done.append(ctx.idempotency_key)
    return {"rows": rows}

@goal("deaf")
def deaf() -> None:
    time.sleep(2)

@goal("doubles")
def doubles() -> None:
    done.append("again")

@goal("moody")
def moody() -> float:
    return time.time()

@goal("unwritable")
def unwritable() -> object:
    return object()

@goal("backwards")
def backwards(ctx: Context) -> None:
    ctx.progress(2, 3)
    ctx.progress(1, 3)

def test_good(missions_stack) -> None:
    report = check_goal(good, {"rows": 20}, on=missions_stack, effects=lambda: len(done))
    assert report.result == {"rows": 20}
    assert report.progress == "reported 20 times"
    assert report.redelivery == "ran twice with one result"
    assert report.timeout == "stopped: handler_timeout"
    assert report.cancel == "stopped: user"

@pytest.mark.parametrize(("handler", "fault"), [
    (deaf, "deaf: still runs 0.5 s after its time was over"),
    (doubles, "doubles: run again it had 2 effects, 1 in one run"),
    (moody, "moody: run again it returned"),
    (unwritable, "bad_result"),
    (backwards, "backwards: progress goes back from 2 to 1"),
])
def test_bad(missions_stack, handler, fault) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_goal(handler, on=missions_stack, effects=lambda: len(done), stop_within=0.5)

def test_different_results_may_be_meant(missions_stack) -> None:
    assert check_goal(moody, on=missions_stack, same_result=False).redelivery == "ran twice with two results"

def test_what_is_no_goal_is_refused(missions_stack) -> None:
    with pytest.raises(Exception, match="mark it with @goal"):
        check_goal(len, on=missions_stack)
"""


def test_the_contract_of_a_goal_finds_each_fault(project: Project) -> None:
    project.write("test_it.py", CONTRACT)
    code, said = project.pytest("-q")
    assert code == 0, said


def test_a_goal_can_be_checked_without_a_stack(project: Project) -> None:
    check = "def test_it():\n    assert check_goal(count, {'text': 'a'}).result == 1\n"
    project.write("test_it.py", "from missions.testing import check_goal\n" + GOALS + check)
    code, said = project.pytest("-q")
    assert code == 0, said


FAILING = """
from goals import count
from missions.testing import MissionsClient, MissionStack

def test_before(missions_stack: MissionStack) -> None:
    missions_stack.run("/run echo text=of_another_test")

def test_result(missions_stack: MissionStack) -> None:
    assert missions_stack.run("/run fail message=boom").result == 3

def test_served(missions_client: MissionsClient) -> None:
    missions_client.serve(count)  # of the stack's own goals, too
    assert missions_client.run("/run count text=a").status == "failed"

def test_not_over(missions_stack: MissionStack) -> None:
    missions_stack.wait(missions_stack.say("/run sleep seconds=60"), seconds=1)

def test_without_a_broker(missions_stack: MissionStack) -> None:
    missions_stack.say("/run sleep seconds=60")
    missions_stack.kill("nats")
    import pytest
    pytest.fail("as it comes")
"""


def test_whatever_fails_says_what_became_of_its_missions(project: Project) -> None:
    project.write("goals.py", GOALS)
    project.write("test_it.py", FAILING)
    code, said = project.pytest("-q", "--missions-goals", "goals.py")
    assert code == 1, said
    assert "4 failed, 1 passed" in said.splitlines()[-1], said
    _, result, served, not_over, broken = re.split(r"^_+ test_\w+ _+$", said, flags=re.MULTILINE)
    assert "where None = <failed (handler_error: boom): mission" in result
    assert len(re.findall("-- missions: records of mission", result)) == 1, "of this test alone"
    assert '"message":"boom"}' in result
    assert re.search(r"warning goal_failed .*: boom", result)
    assert "completed" in served.partition("-- missions: records of mission")[2]
    assert "-- missions: why mission" in not_over
    assert "It is owned by executor/" in not_over
    assert "asyncio" not in not_over, "where our code was just then explains nothing"
    assert "cannot be read" in broken
    assert "nats_disconnected" in broken


#: What differs from run to run in an output: ids of missions and owners, sequences, counts of consumers.
_MASKS = (
    (r"executor/[^/]+/\d+/\w+", "executor/HOST/PID/ID"),
    (r"mission [a-z2-7]{26}", "mission ID"),
    (r"^E +\d+  ", "E SEQ  "),
    (r"(pending|redelivered|waiting) \d+", r"\1 N"),
)


def masked(text: str) -> list[str]:
    for pattern, name in _MASKS:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.splitlines()


def test_a_failing_drill_says_what_the_page_shows(project: Project) -> None:
    (drill,) = [block.text for block in blocks(PAGE, "python") if block.text.startswith("# test_drill.py")]
    (shown,) = [block.text for block in blocks(PAGE, "text")]
    project.write("test_drill.py", drill)
    code, said = project.pytest("-q", "--tb=short")
    assert code == 1, said
    lines = iter(masked(said))
    for line in masked(shown.replace("…\n", "")):
        assert any(found.startswith(line) for found in lines), f"{line!r} does not follow in:\n{said}"


def test_the_tests_of_the_page_pass(project: Project) -> None:
    for block in blocks(PAGE, "python"):
        name = block.text.partition("\n")[0].removeprefix("# ")
        if name not in {"test_drill.py", "test_full_disk.py"}:
            project.write(name.replace("with_block", "test_with_block"), block.text)
    code, said = project.pytest("-q")
    assert code == 0, said
    assert "4 passed" in said


def test_the_full_disk_of_the_page_passes(project: Project) -> None:
    (drill,) = [block.text for block in blocks(PAGE, "python") if block.text.startswith("# test_full_disk.py")]
    project.write("test_full_disk.py", drill)
    code, said = project.pytest("-q")
    if "CAP_SYS_ADMIN" in said:
        pytest.skip("small disks for processes need root")
    assert code == 0, said
