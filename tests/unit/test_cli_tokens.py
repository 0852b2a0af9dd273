from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from missions.cli import cli
from services.runtime.tokens import Tokens


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments), prog_name="missions")
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_token_is_shown_once_and_its_file_holds_the_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    code, token, _ = run(capsys, "token", "bot", "--scope", "write", "--file", str(file))
    assert code == 0
    assert token.strip() not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    found = Tokens(file).find(token.strip())
    assert found is not None
    assert (found.name, found.scopes) == ("bot", frozenset({"read", "write"}))


def test_a_third_token_of_a_name_is_refused_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"
    for _ in range(2):
        run(capsys, "token", "bot", "--file", str(file))
    before = file.read_text()
    code, out, err = run(capsys, "token", "bot", "--file", str(file))
    assert (code, out) == (78, "")
    assert "at most two" in err
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "token", "dashboard", "--json")
    made: dict[str, Any] = json.loads(out)
    assert (code, made["name"], made["scopes"]) == (0, "dashboard", ["read"])
    assert made["line"].startswith("dashboard read ")
    assert run(capsys, "token", "a b")[0] == 2
