"""The entry point `missions`: Ctrl-C ends it quietly from the first moment on, before there is a command line."""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130


class EndsAtOnce:
    """A block, of imports, in which Ctrl-C ends the process without a word. Where it is ignored, it stays ignored.

    A `KeyboardInterrupt` in an import may come out as anything, also as a traceback from a callback.
    """

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))

    def __exit__(self, *_: object) -> None:
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Run the command line."""
    with EndsAtOnce():
        from missions import cli  # noqa: PLC0415 - the signal comes first

    cli.main()
