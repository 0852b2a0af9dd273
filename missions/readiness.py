"""Waiting for services to be ready, and saying why one is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from contracts.errors import SetupError
from missions.service_process import ServiceProcess

_POLL_S = 0.015


class NotReady(SetupError):
    """A service ended at its start, or was not ready in time; `log_tail` is the end of its log."""

    def __init__(self, message: str, service: ServiceProcess) -> None:
        super().__init__(f"{message} (see {service.log_file})")
        self.log_tail = service.log_tail()
        self._message = message

    def forget_log_file(self) -> None:
        """Name the log no longer: it goes with the stack that did not start."""
        self.args = (self._message,)


def await_ready(services: Mapping[str, ServiceProcess], within_s: float, given_up: Callable[[str], bool]) -> None:
    """Ask `/readyz` until all are ready; raises `NotReady` when the time is over or one of them is `given_up`."""
    deadline = time.monotonic() + within_s
    waiting = dict(services)
    while unready := {name: why for name, service in waiting.items() if (why := service.unready())}:
        for name, why in unready.items():
            if given_up(name):
                raise NotReady(f"{name} did not start: {services[name].last_words()}", services[name])
            if time.monotonic() > deadline:
                raise NotReady(f"{name} is not ready after {within_s:g} s: {why}", services[name])
        time.sleep(_POLL_S)
        waiting = {name: services[name] for name in unready}
