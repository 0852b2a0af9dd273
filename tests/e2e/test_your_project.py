"""A project with a package called `services`, on Missions as it is shipped: its wheel, in a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.documented import ROOT
from tests.support.up import FREE_PORTS, Up, outcome, say

pytestmark = pytest.mark.timeout(300)

PROJECT = ROOT / "examples" / "your_project"


def run(*command: str | Path, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTEST_ADDOPTS"}}
    ran = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def desk(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, and install the wheel beside it with what the extra `testing` brings, and nothing else."""
    folder = tmp_path_factory.mktemp("desk") / "your_project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    run(sys.executable, "-m", "venv", "--without-pip", ".venv", cwd=folder)
    target = ("--quiet", "--python", ".venv/bin/python")
    run(sys.executable, "-m", "uv", "pip", "install", *target, f"{wheel}[testing]", cwd=folder)
    return folder


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"contracts", "services", "missions"}


def test_its_suite_passes(desk: Path) -> None:
    said = run(desk / ".venv/bin/python", "-m", "pytest", "-q", cwd=desk)
    assert "6 passed" in said


def test_its_goals_run_on_the_command_line_too(desk: Path) -> None:
    command = [str(desk / ".venv/bin/missions"), "up", "--goals", "your_project.goals", "--data-dir", "data", "--json"]
    with subprocess.Popen([*command, *FREE_PORTS], cwd=desk, text=True, stdout=subprocess.PIPE) as process:
        try:
            up = Up(process)
            mission_id = say(up.ready["orchestrator_url"], "what do 2 pear cost")
            assert outcome(up.ready["whiteboard_url"], mission_id)["result"] == {"total": 80, "currency": "EUR"}
        finally:
            process.terminate()


@pytest.mark.parametrize(
    "statement",
    [
        "import missions, services.billing, services.runtime.bus; services.CURRENCY",
        "from services import CURRENCY, billing; from missions import Client; Client",
        "from missions import goal, Context; from services.billing import price_of; Context",
        "import missions.serve; from services.executor import run_executor_with_timeout; import services.billing",
    ],
)
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_both_packages_called_services_are_found_whichever_comes_first(desk: Path, statement: str, first: str) -> None:
    """Theirs is on `sys.path` before ours in a project, and behind it where it is an editable installation."""
    if first == "ours" and "CURRENCY" in statement:
        pytest.skip("what their services/__init__.py defines is not to be had where ours comes first")
    place = 0 if first == "theirs" else "len(sys.path)"
    run(desk / ".venv/bin/python", "-P", "-c", f"import sys; sys.path.insert({place}, '.'); {statement}", cwd=desk)
