"""Kinds that need a library are always there; the library is imported when a goal needs it, or said to be missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.documented import ROOT

LIBRARIES = {"httpx2": "http", "mcp": "mcp", "openai": "llm"}

ABSENT = """
import asyncio, sys
sys.modules[{library!r}] = None  # what an import meets where nothing is installed
from tests.support.kind_calls import KindCall
try:
    asyncio.run(KindCall({kind!r}, **{params!r}).result())
except Exception as error:
    print(type(error).__name__, error)
"""


def run(script: str, **env: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def test_registering_the_kinds_imports_none_of_their_libraries() -> None:
    script = "import sys; from services.executor.loading import load_registry; print(*load_registry(()).kinds)"
    kinds, imported = run(f"{script}; print(*sys.modules)").splitlines()
    assert {"command", "http.get", "http.request", "llm", "mcp"} <= set(kinds.split())
    assert not LIBRARIES.keys() & set(imported.split())


@pytest.mark.parametrize(
    ("kind", "library", "params"),
    [
        ("http.get", "httpx2", {"url": "http://a.example/"}),
        ("http.request", "httpx2", {"url": "http://a.example/"}),
        ("mcp", "mcp", {"server": "a", "tool": "t"}),
        ("llm", "openai", {"prompt": "hi"}),
    ],
)
def test_a_missing_library_is_said_with_how_to_install_it(
    kind: str, library: str, params: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("mcp") / "servers.json"
    file.write_text('{"mcpServers": {"a": {"url": "http://127.0.0.1:9/", "tools": ["t"]}}}')
    said = run(
        ABSENT.format(library=library, kind=kind, params=params),
        MISSIONS_MCP_SERVERS=str(file),
        MISSIONS_LLM_BASE_URL="http://127.0.0.1:9/v1",
        MISSIONS_LLM_MODELS="small",
    )
    assert said == f'Reject goal kind "{kind}" needs: pip install "nats-missions[{LIBRARIES[library]}]"\n'
