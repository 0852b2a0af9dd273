"""Tells whether there is a Docker engine to test with."""

from __future__ import annotations

import functools
import shutil
import subprocess


@functools.cache
def why_no_engine() -> str:
    """Return why containers cannot be started here, or an empty string where they can."""
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not installed"
    try:
        ran = subprocess.run([docker, "version"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    return "" if ran.returncode == 0 else "no Docker engine is running"
