"""What the goals of files and modules are, without a broker: loaded here, or in a process of their own."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from contracts.errors import SetupError
from missions.service_process import import_path

_LOAD_WITHIN_S = 60.0
_LIBRARIES = {"site-packages", "dist-packages"}
_OURS = tuple(Path(__file__).resolve().parents[1] / name for name in ("contracts", "missions", "services"))
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()


def described(goals: Sequence[str]) -> dict[str, Any]:
    """Load goals and return their kinds, and the files that were read for them; raises `SetupError`."""
    from services.executor.loading import load_registry  # noqa: PLC0415 - the command line stays fast

    built_in = set(load_registry(()).kinds)
    before = set(sys.modules)
    with redirect_stdout(sys.stderr):  # what a file prints while it is loaded is not our data
        registry = load_registry(tuple(goals))
    items = []
    for handler in registry:
        if handler.kind not in built_in:
            spec = handler.announcement("")
            kind = {name: getattr(spec, name) for name in spec.__struct_fields__ if name != "queue"}
            items.append(kind | {"code": _digest(handler.function)})
    return {"items": items, "files": sorted(_files(set(sys.modules) - before))}


def described_afresh(goals: Sequence[str]) -> dict[str, Any]:
    """Do as `described` in a new process, which knows nothing of earlier versions; raises `SetupError`."""
    checks = [word for name in goals for word in ("--check", name)]
    env = {**os.environ, "PYTHONPATH": import_path(os.environ), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "missions", "goals", *checks, "--json"]
    try:
        ran = subprocess.run(  # noqa: S603 - our own command, no shell
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOAD_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{', '.join(goals)} took longer than {_LOAD_WITHIN_S:g} s to load") from None
    if ran.returncode != 0:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise SetupError("\n".join(line.removeprefix("missions: ") for line in said) or "the goals cannot be loaded")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def places(goals: Iterable[str]) -> set[Path]:
    """Return the files, and the folders of modules, that goals are loaded from, as far as their names tell."""
    return {Path(name) if name.endswith(".py") else Path(*name.split(".")[:1]) for name in goals}


def _digest(function: Any) -> str:
    """Return a mark of the code of a function, which changes with it."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""


def _files(modules: Iterable[str]) -> set[str]:
    """Return the files of modules that are the user's own."""
    found = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    return {file for file in found if isinstance(file, str) and _is_users(Path(file).resolve())}


def _is_users(file: Path) -> bool:
    ours = any(file.is_relative_to(folder) for folder in (*_OURS, _STANDARD))
    return file.suffix == ".py" and not ours and not _LIBRARIES.intersection(file.parts)
