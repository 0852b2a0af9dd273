"""Finding goals: built-in kinds, entry points, modules and files that the settings name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from contracts.errors import SetupError
from services.executor.registry import Registry

ENTRY_POINTS = "missions.goals"
_BUILT_IN = ("services.executor.kinds.basic",)
_BUILT_IN_EXTRAS = (("services.executor.kinds.http", "httpx2"),)


def load_registry(goals: tuple[str, ...]) -> Registry:
    """Collect every goal kind; raises `SetupError` for what cannot be imported, or holds no goal."""
    registry = Registry()
    for name in _BUILT_IN:
        registry.add_module(importlib.import_module(name))
    for name, library in _BUILT_IN_EXTRAS:
        if importlib.util.find_spec(library) is not None:
            registry.add_module(importlib.import_module(name))
    for entry in entry_points(group=ENTRY_POINTS):
        registry.add_module(_imported(entry.value))
    for name in goals:
        if not registry.add_module(_from_file(Path(name)) if name.endswith(".py") else _imported(name)):
            raise SetupError(f'no goals in {name}: mark functions with @goal("kind") from missions')
    return registry


def _imported(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise SetupError(f"cannot import goals from {name}: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that two files called goals.py may be used together."""
    if not path.is_file():
        raise SetupError(f"no such goals file: {path}")
    name = f"missions_goals_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SetupError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SetupError:
        raise
    except Exception as error:
        raise SetupError(f"cannot load goals from {path}: {type(error).__name__}: {error}") from error
    return module
