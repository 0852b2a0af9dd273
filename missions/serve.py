"""`python -m missions.serve executor`: a service as a child process, found whatever else is called `services`."""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main(service: str) -> int:
    """Run a service on the settings of the environment; return its exit code."""
    goals = os.environ.get("MISSIONS_GOALS", "").split(",")
    if service == "executor" and any(name.strip() and not name.strip().endswith(".py") for name in goals):
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - where a module with goals is; a package of theirs comes first
    process = import_module("services.runtime.process")
    code: int = process.main(import_module(f"services.{service}.service").serve, service)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
