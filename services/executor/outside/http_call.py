"""One HTTP request, to a listed host, at an address that was checked. Imported when a goal needs it."""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass, field
from typing import Any

import httpx2

from contracts import codec
from contracts.errors import SetupError
from services.executor.context import Reject
from services.executor.outside import http_answer
from services.executor.outside.destinations import AllowList, Destination, Guard
from services.executor.outside.http_answer import CallFailed
from services.runtime import settings

_CONNECT_S = 5.0  # at each address
_MAX_HEADER_BYTES = 16 * 1024
#: Headers that say whom a request is for and where it ends.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"})


@dataclass(frozen=True)
class Call:
    """One request, as it was asked for."""

    method: str
    url: str
    headers: httpx2.Headers = field(default_factory=lambda: request_headers(None))
    content: bytes = b""
    timeout_s: float = 30.0


def request_headers(given: dict[str, str] | None) -> httpx2.Headers:
    """Check the headers a goal asks for; raises `Reject`, never with a value, for it may be a secret."""
    headers = httpx2.Headers({"User-Agent": "missions", "Accept": "*/*"})
    for name, value in (given or {}).items():
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise Reject(f"the header {name} is not yours to set")
        if not (name + value).isascii():
            raise Reject(f"the header {name!r} is not ASCII")
        headers[name] = value
    if sum(len(name) + len(value) for name, value in headers.raw) > _MAX_HEADER_BYTES:
        raise Reject(f"the headers are over {_MAX_HEADER_BYTES} bytes")
    headers["Accept-Encoding"] = "identity"  # a small answer that inflates to gigabytes is none
    return headers


def content_of(json_body: Any, body: str | None) -> tuple[bytes, str]:
    """Return what a request says, and its content type; raises `Reject` for two bodies."""
    if json_body is not None and body is not None:
        raise Reject("give json or body, not both")
    if json_body is not None:
        return codec.encode(json_body), "application/json"
    return (b"", "") if body is None else (body.encode(), "text/plain; charset=utf-8")


@functools.cache
def configured() -> Guard:
    """Return the guard with the hosts of the settings, read once; raises `Reject` where those are wrong."""
    try:
        return Guard(AllowList.parse(settings.load().http_allow))
    except SetupError as error:
        raise Reject(str(error)) from error


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Load the certificate authorities of this machine, or of SSL_CERT_FILE; once, for it takes 0.1 s."""
    return httpx2.create_ssl_context()


async def perform(call: Call, guard: Guard, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Send one request where the guard admits it, and return the answer; a redirect is an answer.

    Raises `Reject` for what another try cannot mend, a client error of the server (4xx) among it, and `CallFailed` or
    `Unresolved` for the rest. Neither says more of the URL than its host.
    """
    try:
        async with asyncio.timeout(call.timeout_s):
            destination = await guard.admit(call.url)
            trusted = await asyncio.to_thread(_trusted) if tls is None else tls
            return await _exchange(call, destination, trusted)
    except TimeoutError:
        raise CallFailed(f"no whole answer within {call.timeout_s:g} s") from None


async def _exchange(call: Call, destination: Destination, tls: ssl.SSLContext) -> dict[str, Any]:
    # The transport alone, without a client: no redirects, cookies, netrc, proxies or logged URLs to switch off.
    async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
        try:
            response = await _send(transport, call, destination)
            try:
                return await http_answer.read(response, call.url, str(destination))
            finally:
                await response.aclose()
        except httpx2.LocalProtocolError:
            raise Reject("a header has a name or a value that HTTP does not allow") from None
        except httpx2.TransportError as error:
            raise CallFailed(f"{destination}: {_why(error)}") from None


async def _send(transport: httpx2.AsyncHTTPTransport, call: Call, destination: Destination) -> httpx2.Response:
    """Try one address after the other until one can be connected to; nothing was sent to those before."""
    *others, last = destination.addresses
    for address in others:
        try:
            return await transport.handle_async_request(_request(call, destination, address))
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            continue
    return await transport.handle_async_request(_request(call, destination, last))


def _request(call: Call, destination: Destination, address: str) -> httpx2.Request:
    """Build the request to one address; its Host header, and the name in the certificate, stay those of the URL."""
    timeout = httpx2.Timeout(None, connect=_CONNECT_S)  # the whole call has its own
    headers = httpx2.Headers([(b"Host", destination.url.netloc), *call.headers.raw])
    return httpx2.Request(
        call.method,
        destination.url.copy_with(host=address),
        headers=headers,
        content=call.content,
        extensions={"timeout": timeout.as_dict(), "sni_hostname": destination.host},
    )


def _why(error: BaseException) -> str:
    """Say what went wrong in words of ours: those of the library may hold addresses and bytes of the answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"no answer ({type(error).__name__})"
