"""What a stack can refuse before it starts or makes anything."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

from contracts.errors import SetupError
from missions import ports


def check_goals(setting: str) -> None:
    """Raise `SetupError` for a file or module in `MISSIONS_GOALS` that is not there; nothing of it is run."""
    for name in filter(None, map(str.strip, setting.split(","))):
        if name.endswith(".py"):
            if not Path(name).is_file():
                raise SetupError(f"no such goals file: {name}")
        elif not _is_there(name.partition(".")[0]):
            raise SetupError(f"no such goals module: {name} (a file ends with .py)")


def check_nats_port(host: str, port: int) -> None:
    """Raise `SetupError` where somebody listens on the port that the broker shall have."""
    for taken in ports.take(host, port, 1, "--nats-port"):
        taken.release()


def _is_there(package: str) -> bool:
    """Look for a package where an executor will: it adds the working directory."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return bool(found or importlib.machinery.PathFinder.find_spec(package, [str(Path.cwd())]))
