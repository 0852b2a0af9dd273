"""Living beside packages of yours that have a name of ours, `services` or `contracts`: both are found.

Python knows one package of a name. Whichever it meets first, this finder adds the submodules of the other one: ours
always, those of yours that ours has not. What cannot be had: a submodule of yours with the name of one of ours, and a
plain module `services.py`, which has no submodules.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import
_SHARED = frozenset({"services", "contracts"})


class _Beside(MetaPathFinder):
    """Finds `services.x` where its package was not looking."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a submodule of a shared name is: in our package, else in any other on `sys.path`."""
        package, dot, name = fullname.partition(".")
        if not dot or package not in _SHARED or "." in name:
            return None
        ours = os.path.join(_HOME, package)  # noqa: PTH118 - as above
        found = PathFinder.find_spec(fullname, [ours], target)
        if found is not None or [os.path.abspath(place) for place in path or ()] != [ours]:  # noqa: PTH100 - as above
            return found  # None: their package was first, and looks for its own
        others = [os.path.join(place or os.curdir, package) for place in sys.path]  # noqa: PTH118 - as above
        return PathFinder.find_spec(fullname, others, target)


def install() -> None:
    """Add the finder, once."""
    if not any(type(finder).__name__ == _Beside.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Beside())
