"""The entry point `missions`: nothing is imported before Ctrl-C is quiet."""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; until it is loaded, Ctrl-C ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup and the like ignore it: let them
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from missions.cli import main as run  # noqa: PLC0415 - the import is what takes the time

    run()
