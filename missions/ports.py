"""Ports to listen on, taken before the process that will listen is started."""

from __future__ import annotations

import errno
import socket
import sys

from contracts.errors import SetupError

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class Port:
    """A port that is ours until `release`: bound but never listening, so that a child may listen on it.

    That works where two sockets with SO_REUSEADDR may share a port that one of them listens on, which is Linux;
    elsewhere the port is only found to be free.
    """

    def __init__(self, host: str, port: int, option: str = "--port") -> None:
        """Take `port`, or any free one for 0; raises `SetupError`, naming its `option`, when somebody listens there."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self.release()
            raise SetupError(_why(host, port, option, error)) from error
        self.host = host
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.release()

    @property
    def url(self) -> str:
        """Where a client on this machine finds what listens there."""
        host = _ANYWHERE.get(self.host, self.host)
        return f"http://[{host}]:{self.number}" if ":" in host else f"http://{host}:{self.number}"

    def release(self) -> None:
        """Let others have the port."""
        self._socket.close()


def take(host: str, first: int, count: int, option: str = "--port") -> list[Port]:
    """Take `count` ports from `first` on, or as many free ones for 0; raises `SetupError` and takes none."""
    taken: list[Port] = []
    try:
        taken.extend(Port(host, first + offset if first else 0, option) for offset in range(count))
    except SetupError:
        for port in taken:
            port.release()
        raise
    return taken


def _why(host: str, port: int, option: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop what listens there, or choose another with {option} (0: a free one)"
    return f"cannot listen on {host}:{port}: {error}"
