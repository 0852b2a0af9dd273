from __future__ import annotations

import sys

from contracts.errors import MissionsError
from services.orchestrator.service import serve
from services.runtime import process, settings

if __name__ == "__main__":
    try:
        sys.exit(process.run(serve, settings.load(), "orchestrator"))
    except MissionsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
