"""`missions goals --check`: goals without a broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from missions.cli.kind_page import params_of, type_of
from tests.support.documented import ROOT

TEXT = '''
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from missions import goal
print("loading")

class Size(BaseModel):
    width: int

@goal("resize", retries=2, timeout=30, phrases=["resize {path}"])
def resize(path: Annotated[str, Field(description="What to resize")], size: Size | None = None,
           how: Literal["fit", "fill"] = "fit", tags: list[str] = []) -> str:
    """Resize a picture."""
    return path
'''


def check(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "missions", "goals", *arguments]
    env = {"PYTHONPATH": str(ROOT), "NATS_URL": "nats://127.0.0.1:9", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "goals.py").write_text(TEXT)
    return tmp_path


def test_a_file_is_listed_without_a_broker(folder: Path) -> None:
    ran = check("--check", "goals.py", cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "loading\n")
    row = ran.stdout.splitlines()[1].split("  ")
    assert row[0] == "resize"
    assert 'path:string size:Size|null=null how:fit|fill="fit" tags:[string]=[]' in ran.stdout


def test_a_module_is_found_in_the_working_directory(folder: Path) -> None:
    assert "resize" in check("--check", "goals", cwd=folder).stdout


def test_one_kind_is_shown_whole(folder: Path) -> None:
    shown = check("resize", "--check", "goals.py", cwd=folder).stdout
    head, _, schema = shown.partition("\n{")
    assert head.splitlines()[:5] == [
        "resize  Resize a picture.",
        "  phrase    resize {path}",
        "  runs in   a thread",
        "  timeout   30 s a try",
        "  retries   2",
    ]
    assert "path   string     (required)  What to resize" in head
    assert json.loads("{" + schema)["properties"]["how"]["enum"] == ["fit", "fill"]


def test_an_unknown_kind_names_the_nearest(folder: Path) -> None:
    ran = check("resise", "--check", "goals.py", cwd=folder)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (
        1, "missions: no goal kind 'resise'; did you mean resize?",
    )  # fmt: skip


def test_json_has_the_kinds_and_their_files(folder: Path) -> None:
    found = json.loads(check("--check", "goals.py", "--json", cwd=folder).stdout)
    (item,) = found["items"]
    assert (item["kind"], item["isolation"], item["timeout_s"], item["retries"]) == ("resize", "thread", 30, 2)
    assert [Path(file).name for file in found["files"]] == ["goals.py"]


def test_everything_wrong_is_said_with_exit_code_78(folder: Path) -> None:
    (folder / "goals.py").write_text(
        TEXT + "\n@goal('a', timeout=-1)\ndef a(): ...\n@goal('b')\ndef b(n: int = 'x'): ...\n"
    )
    ran = check("--check", "goals.py", cwd=folder)
    assert (ran.returncode, ran.stdout) == (78, "")
    _, first, second = ran.stderr.splitlines()
    assert first.startswith("missions: ")
    assert "goals.py:16: timeout=-1" in first
    assert "goals.py:18: the default of n" in second


def test_a_file_that_does_not_load_is_said_with_its_line(folder: Path) -> None:
    (folder / "goals.py").write_text("x = (\n")
    ran = check("--check", "goals.py", cwd=folder)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert "goals.py:1: SyntaxError" in ran.stderr


def test_odd_schemas_are_shown_all_the_same() -> None:
    assert params_of({"properties": {"a": True, "b": {}, "c": {"const": 1}}}) == "a:any b:any c:1"
    assert params_of({"properties": []}) == ""
    assert type_of({"type": "string", "format": "date"}) == "date"
