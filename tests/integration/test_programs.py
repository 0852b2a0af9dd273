"""Programs that are their own file of goals: without a guard they would start themselves again, and are told so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documented import ROOT

GOALS = """
import sys
from missions import goal
from missions.testing import MissionStack
from services.executor import start_executor_background
from services.runtime.settings import load

@goal("one", isolation="process")
def one() -> int:
    return 1
"""
EXECUTOR = """
with start_executor_background(goals=[one], settings=load(nats_url=sys.argv[1])):
    print("it runs")
"""
STACK = """
with MissionStack(__file__) as stack:
    print("it runs:", stack.run("/run one").result)
"""
FOR_EVER = """
import threading
if __name__ == "__main__":
    from services.executor.isolation import zygote_process
    zygote_process._START_WITHIN_S = 2.0
    with start_executor_background(goals=[one], settings=load(nats_url=sys.argv[1])):
        print("it runs")
threading.Event().wait()
"""


def ran(folder: Path, program: str, nats_url: str) -> tuple[int, str]:
    """Run a program; return its exit code and what it said."""
    (folder / "program.py").write_text(program)
    found = subprocess.run(
        [sys.executable, "program.py", nats_url],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr


def guarded(program: str) -> str:
    """Put what a program does below the guard."""
    return 'if __name__ == "__main__":\n' + "".join(f"    {line}\n" for line in program.splitlines())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("program", "what"), [(EXECUTOR, "an executor"), (STACK, "a stack")], ids=["executor", "stack"]
)
def test_a_program_without_a_guard_is_told_to_have_one(tmp_path: Path, nats_url: str, program: str, what: str) -> None:
    code, said = ran(tmp_path, GOALS + program, nats_url)
    assert code == 1
    assert f"program.py starts {what} whenever it is imported" in said
    assert 'put that below `if __name__ == "__main__":`' in said
    assert "it runs" not in said
    code, said = ran(tmp_path, GOALS + guarded(program), nats_url)
    assert code == 0, said
    assert "it runs" in said


@pytest.mark.timeout(60)
def test_a_program_that_never_ends_its_import_is_told_where_that_belongs(tmp_path: Path, nats_url: str) -> None:
    code, said = ran(tmp_path, GOALS + FOR_EVER, nats_url)
    assert code == 1
    assert "program.py does belongs below" in said
