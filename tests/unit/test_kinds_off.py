"""Kinds that cannot run yet: what they need is said, and nobody is told to run them."""

from __future__ import annotations

import sys

import pytest

from contracts.messages import KindSpec
from missions.cli import kind_page
from services.executor.outside import kind_settings
from services.orchestrator.kinds import Kinds
from services.runtime.settings import Settings

OFF = KindSpec(kind="command", off="set MISSIONS_COMMANDS", phrases=("call {name}",), description="Run a program.")


def test_what_no_setting_allows_is_off_and_says_which_one() -> None:
    assert kind_settings.off(Settings()) == {
        "command": "set MISSIONS_COMMANDS",
        "http.get": "set MISSIONS_HTTP_ALLOW",
        "http.request": "set MISSIONS_HTTP_ALLOW",
        "llm": "set MISSIONS_LLM_BASE_URL",
        "mcp": "set MISSIONS_MCP_SERVERS",
    }
    assert "command" not in kind_settings.off(Settings(commands=("disk=/bin/df",)))


def test_a_library_that_is_missing_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    off = kind_settings.off(Settings(llm_base_url="http://127.0.0.1:1/v1", llm_models=("m",)))
    assert off["llm"] == 'pip install "nats-missions[llm]"'


def test_help_leaves_out_what_is_off_everywhere() -> None:
    said = Kinds.of([OFF, KindSpec(kind="echo")]).help
    assert "command" not in said
    assert "call {name}" not in said
    assert (
        "You can run: command, echo."
        in Kinds.of([OFF, KindSpec(kind="command", queue="ops"), KindSpec(kind="echo")]).help
    )
    assert Kinds.of([OFF]).help == Kinds().help


def test_what_is_off_is_planned_all_the_same_so_that_its_goal_says_why() -> None:
    assert Kinds.of([OFF]).queue_of("command") == "default"
    assert Kinds.of([OFF]).phrases


def test_a_kind_that_is_off_is_listed_with_what_it_needs() -> None:
    kind = {name: getattr(OFF, name) for name in OFF.__struct_fields__}
    assert kind_page.row(kind)[-1] == "(off: set MISSIONS_COMMANDS) Run a program."
    assert ("off", "set MISSIONS_COMMANDS") in list(kind_page.facts(kind))
