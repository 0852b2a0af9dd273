"""Finding goals: built-in kinds, entry points, modules and files that the settings name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from contracts.errors import SetupError
from services.executor.importing import importing
from services.executor.registry import Registry

ENTRY_POINTS = "missions.goals"
_BUILT_IN = tuple(f"services.executor.kinds.{name}" for name in ("basic", "command", "http", "llm", "mcp"))
_OURS = tuple(Path(__file__).parents[2] / name for name in ("contracts", "missions", "services"))
_STANDARD = Path(sysconfig.get_path("stdlib"))


def load_registry(goals: tuple[str, ...]) -> Registry:
    """Collect every goal kind; raises `SetupError` for what cannot be imported, or holds no goal."""
    registry = Registry()
    for name in _BUILT_IN:
        registry.add_module(importlib.import_module(name))
    for entry in entry_points(group=ENTRY_POINTS):
        registry.add_module(imported(entry.value))
    for name in goals:
        if not registry.add_module(from_file(Path(name)) if name.endswith(".py") else imported(name)):
            raise SetupError(f'no goals in {name}: mark functions with @goal("kind") from missions')
    return registry


def imported(name: str) -> ModuleType:
    """Import a module, which may lie in the working directory; raises `SetupError` naming file and line."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with explained(f"cannot import goals from {name}"), importing(name):
        return importlib.import_module(name)


def from_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that two files called goals.py may be used together."""
    if not path.is_file():
        raise SetupError(f"no such goals file: {path}")
    name = f"missions_goals_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SetupError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with explained(f"cannot load goals from {path}"), importing(str(path)):
        spec.loader.exec_module(module)
    return module


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a user's module raises while it is imported into a `SetupError` that says where."""
    try:
        yield
    except SetupError:
        raise
    except (Exception, SystemExit) as error:
        raise SetupError(f"{what}: {_place(error)}{type(error).__name__}: {_message(error)}") from error


def _place(error: BaseException) -> str:
    """Return file and line of what went wrong: of the last line that is not a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    libraries = {"site-packages", "dist-packages"}.intersection(path.parts)
    theirs = not any(map(path.is_relative_to, (*_OURS, _STANDARD)))
    return theirs and not libraries and not filename.startswith("<")


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
