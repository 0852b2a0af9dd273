"""A goal that keeps a large file, made a block at a time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from missions import Context, goal


@goal("keep.file")
def keep_file(ctx: Context, megabytes: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1024 * 1024))
        return ctx.artifact("file.bin", path).sha256
