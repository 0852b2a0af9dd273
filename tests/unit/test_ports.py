from __future__ import annotations

import socket
import sys

import pytest

from contracts.errors import SetupError
from missions import ports
from missions.ports import Port

HERE = "127.0.0.1"


def listener(port: int) -> socket.socket:
    """Listen as our services do."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((HERE, port))
    found.listen()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is only found to be free")
def test_a_port_that_is_taken_can_be_listened_on_by_a_child() -> None:
    port = Port(HERE, 0)
    with listener(port.number), socket.create_connection((HERE, port.number)):
        pass
    with listener(port.number):  # and again, after a restart
        port.release()


def test_a_port_somebody_listens_on_is_refused_and_none_is_kept() -> None:
    with socket.create_server((HERE, 0)) as taken:
        busy = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {busy} is in use: stop what listens there, or choose another"):
            ports.take(HERE, busy, 1)


def test_ports_follow_the_first_one() -> None:
    with socket.create_server((HERE, 0)) as free:
        first = free.getsockname()[1]
    taken = ports.take(HERE, first, 2)
    assert [port.number for port in taken] == [first, first + 1]
    for port in taken:
        port.release()


def test_free_ports_are_different_ones() -> None:
    taken = ports.take(HERE, 0, 3)
    assert len({port.number for port in taken}) == 3
    for port in taken:
        port.release()


@pytest.mark.parametrize(("host", "port"), [(HERE, 70_000), ("192.0.2.1", 0)])
def test_what_cannot_be_listened_on_is_refused(host: str, port: int) -> None:
    with pytest.raises(SetupError, match=f"cannot listen on {host}:{port}"):
        Port(host, port)


@pytest.mark.parametrize(("host", "url"), [(HERE, "http://127.0.0.1"), ("0.0.0.0", "http://127.0.0.1")])  # noqa: S104
def test_the_url_is_one_that_a_client_here_can_use(host: str, url: str) -> None:
    port = Port(host, 0)
    assert port.url == f"{url}:{port.number}"
    port.release()
