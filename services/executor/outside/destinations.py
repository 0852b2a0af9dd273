"""Where the http kinds may connect to: listed hosts, at addresses that were checked and are then used as checked."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import httpx2

from contracts.errors import SetupError
from services.executor.context import Reject

SETTING = "MISSIONS_HTTP_ALLOW"
DEFAULT_PORTS = {"http": 80, "https": 443}
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MAX_PORT = 65_535
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
#: Not left to `is_global`, which differs between versions of Python.
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # CGNAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # the platform address of every virtual machine on Azure
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
#: Outside it lie IPv4-mapped, NAT64, unique local, link-local, loopback and multicast addresses.
_GLOBAL_UNICAST = IPv6Network("2000::/3")


class Unresolved(Exception):
    """The name has no address at the moment."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet and wraps no address that may not."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _SPECIAL)


@dataclass(frozen=True)
class AllowList:
    """The hosts that may be called, each with a port; a host without one is meant with those of its schemes."""

    entries: frozenset[tuple[str, int]]

    @classmethod
    def parse(cls, words: Iterable[str]) -> AllowList:
        """Read `host` and `host:port`; raises `SetupError` for anything else: no wildcards, URLs or networks."""
        return cls(frozenset(entry for word in words for entry in _entries(word)))

    def allows(self, host: str, port: int) -> bool:
        """Whether a host, or literally an address, is listed with this port."""
        return (host, port) in self.entries


@dataclass(frozen=True)
class Destination:
    """A URL that may be called, and the addresses to do it at: nothing may resolve its host again."""

    url: httpx2.URL
    host: str
    port: int
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        """Name it without path and query, which may hold secrets."""
        return f"{self.url.scheme}://{_authority(self.host, self.port)}"


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host in the order to try them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True)
class Guard:
    """Decides which URLs may be called, and at which addresses."""

    allow: AllowList
    resolve: Resolve = resolve

    async def admit(self, text: str) -> Destination:
        """Check a URL and resolve its host, once; raises `Reject` where it may not be called, or `Unresolved`."""
        url = _parsed(text)
        host, port = _host(url), url.port or DEFAULT_PORTS[url.scheme]
        if not self.allow.entries:
            raise Reject(f"no host may be called yet: list them in {SETTING}, for example {SETTING}=api.example.com")
        if not self.allow.allows(host, port):
            raise Reject(f"{_authority(host, port)} is not listed in {SETTING}")
        addresses = await self._addresses(host, port)
        # One bad address refuses all: an honest host has none, and which of them is tried first is up to the network.
        if not all(is_public(ip_address(address)) or self.allow.allows(address, port) for address in addresses):
            raise Reject(f"{host} has an address that is not public: list that address as well in {SETTING}")
        return Destination(url, host, port, addresses)

    async def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        if _is_address(host):
            return (host,)
        try:
            found = await self.resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise Unresolved(f"{host} cannot be resolved")
        return tuple(dict.fromkeys(_canonical(address) for address in found))


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError):
        raise Reject("this is not a URL") from None
    if url.scheme not in DEFAULT_PORTS:
        raise Reject("only http and https URLs may be called")
    if url.userinfo:
        raise Reject("a URL may not hold credentials: pass them in a header")
    if not _host(url) or not _is_port(url.port):
        raise Reject("this URL has no valid host and port")
    return url


def _entries(word: str) -> list[tuple[str, int]]:
    try:
        # A scheme without a default port keeps `:80`; an IPv6 address without a port may come without brackets.
        url = httpx2.URL(f"host://[{word}]" if ":" in word and _is_address(word) else f"host://{word}")
    except (httpx2.InvalidURL, UnicodeError):
        url = httpx2.URL()
    more = url.userinfo or url.fragment or url.raw_path not in {b"", b"/"}
    if more or not _host(url) or not _is_port(url.port):
        raise SetupError(f"{SETTING}: {word.rpartition('@')[2]!r} is no entry: write host or host:port")
    return [(_host(url), port) for port in (DEFAULT_PORTS.values() if url.port is None else [url.port])]


def _host(url: httpx2.URL) -> str:
    """Return the host in the one spelling that is compared, or nothing for what is no host."""
    host = _canonical(url.raw_host.decode("ascii"))
    return host if _is_address(host) or _NAME.fullmatch(host) else ""


def _canonical(host: str) -> str:
    host = host.removesuffix(".").lower()
    return str(ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        return "%" not in host and bool(ip_address(host))
    except ValueError:
        return False


def _is_port(port: int | None) -> bool:
    return port is None or 0 < port <= _MAX_PORT


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
