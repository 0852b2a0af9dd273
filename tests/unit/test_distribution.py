"""What is shipped says the same of itself everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import missions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_is_the_same_in_the_package_and_the_distribution() -> None:
    assert missions.__version__ == PROJECT["version"]


def test_make_installs_every_extra_where_uv_cannot() -> None:
    extras = re.search(r"^EXTRAS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) == set(PROJECT["optional-dependencies"])
