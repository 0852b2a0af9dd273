from __future__ import annotations

import sys

from contracts.errors import MissionsError
from services.runtime import process, settings
from services.whiteboard.service import serve

if __name__ == "__main__":
    try:
        sys.exit(process.run(serve, settings.load(), "whiteboard"))
    except MissionsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
