"""The http kinds against a real server on loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Goal, RetryPolicy
from services.executor.context import Context, Reject
from services.executor.kinds import http
from services.executor.outside import http_call
from services.executor.outside.destinations import AllowList, Guard, Resolve, resolve
from services.executor.outside.http_answer import MAX_BODY_BYTES, CallFailed
from services.executor.outside.http_call import Call, perform
from services.executor.reports.line import Facts, Report
from tests.support.broker import connected
from tests.support.eventually import eventually
from tests.support.executing import executing

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server that says what it is told to, and remembers what it was asked."""

    port: int
    asked: list[str] = field(default_factory=list)
    connections: int = 0  #: that are open

    @property
    def here(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(answer: bytes | Answer = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            server.asked.append(request)
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await reader.read()
        except OSError:
            pass  # the client has seen enough
        finally:
            server.connections -= 1
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        server = Server(listening.sockets[0].getsockname()[1])
        yield server
        await eventually(lambda: server.connections == 0)


def guard(*allowed: str, resolve: Resolve = resolve) -> Guard:
    return Guard(AllowList.parse(allowed), resolve)


def at(*addresses: str) -> Resolve:
    async def found(host: str, port: int) -> Sequence[str]:
        return addresses

    return found


async def get(url: str, guard: Guard, *, timeout_s: float = 10, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    return await perform(Call("GET", url, timeout_s=timeout_s), guard, tls)


@pytest.fixture
def context() -> Context:
    facts = Facts(mission_id="m", goal_id="g", kind="http.request", attempt=1, fence=1)
    return Context(facts, Report(facts))


def listed(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    monkeypatch.setattr(http_call, "configured", lambda: guard(*hosts))


async def test_a_listed_address_is_called() -> None:
    async with serving() as server:
        url = f"http://{server.here}/a?b=c#d"
        result = await get(url, guard(server.here))
    assert (result["status"], result["body"], result["truncated"], result["url"]) == (200, "ok", False, url)
    assert server.asked[0].startswith(f"GET /a?b=c HTTP/1.1\r\nHost: {server.here}\r\n")
    assert "Accept-Encoding: identity" in server.asked[0]


async def test_a_name_that_resolves_to_loopback_is_refused() -> None:
    async with serving() as server:
        with pytest.raises(Reject, match="not public"):
            await get(f"http://localhost:{server.port}/", guard(f"localhost:{server.port}"))
    assert server.asked == []


@pytest.mark.parametrize("spelling", ["127.1", "0x7f000001", "2130706433"])
async def test_an_odd_spelling_of_loopback_is_refused_even_where_it_is_listed(spelling: str) -> None:
    async with serving() as server:
        with pytest.raises(Reject, match="not public"):
            await get(f"http://{spelling}:{server.port}/", guard(f"{spelling}:{server.port}"))
    assert server.asked == []


async def test_a_name_is_resolved_once_and_called_at_that_address() -> None:
    answers = [["127.0.0.1"], ["10.0.0.5"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async with serving() as server:
        name = f"rebinding.invalid:{server.port}"
        result = await get(f"http://{name}/", guard(name, server.here, resolve=rebinding))
    assert result["body"] == "ok"
    assert len(answers) == 1
    assert f"\r\nHost: {name}\r\n" in server.asked[0]


async def test_the_next_address_is_tried_where_one_refuses_the_connection() -> None:
    async with serving() as server:
        name = f"two.invalid:{server.port}"
        allowed = (name, server.here, f"[::1]:{server.port}")
        result = await get(f"http://{name}/", guard(*allowed, resolve=at("::1", "127.0.0.1")))
    assert result["status"] == 200


async def test_a_redirect_is_returned_and_not_followed() -> None:
    async with serving() as inner:
        location = f"http://{inner.here}/secret"
        moved = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        async with serving(moved) as server:
            result = await get(f"http://{server.here}/", guard(server.here, inner.here))
    assert (result["status"], result["headers"]["location"]) == (302, location)
    assert inner.asked == []


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving() as server:
        assert (await get(f"http://{server.here}/", guard(server.here)))["status"] == 200
    assert "Authorization" not in server.asked[0]


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"X-Framing: until the end"])
async def test_a_huge_body_is_read_no_further_than_the_limit(framing: bytes) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while True:
            writer.write(b"a" * 65_536)
            sent += 65_536
            await writer.drain()

    async with serving(flood) as server:
        result = await get(f"http://{server.here}/", guard(server.here))
    assert (result["body"], result["truncated"]) == ("a" * MAX_BODY_BYTES, True)
    assert sent < 100_000_000


async def test_a_slow_body_ends_with_the_time_of_the_call() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(drip) as server:
        with pytest.raises(CallFailed, match=r"within 0\.3 s"):
            await get(f"http://{server.here}/", guard(server.here), timeout_s=0.3)


async def test_a_slow_resolver_ends_with_the_time_of_the_call() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(CallFailed, match=r"within 0\.1 s"):
        await get("http://a.example/", guard("a.example", resolve=never), timeout_s=0.1)


async def test_endless_headers_are_no_answer() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"a" * 1_000 + b"\r\n")
            await writer.drain()

    async with serving(flood) as server:
        with pytest.raises(CallFailed, match="no answer"):
            await get(f"http://{server.here}/", guard(server.here))


async def test_an_error_says_neither_path_nor_query_nor_bytes_of_the_answer() -> None:
    async with serving(b"secret nonsense\r\n\r\n") as server:
        with pytest.raises(CallFailed) as caught:
            await get(f"http://{server.here}/secret?token=secret", guard(server.here))
    assert str(caught.value) == f"http://{server.here}: no answer (RemoteProtocolError)"


async def test_nobody_who_listens_is_worth_another_try() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(CallFailed, match=r"no answer \(ConnectError\)"):
            await get(f"http://{here}/", guard(here))


async def test_a_post_carries_its_json_and_the_key_of_its_goal(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server:
        listed(monkeypatch, server.here)
        await http.http_request(context, f"http://{server.here}/", method="POST", json_body={"a": 1})
    asked = server.asked[0]
    assert "\r\nIdempotency-Key: m.g\r\n" in asked
    assert "\r\nContent-Type: application/json\r\n" in asked
    assert "\r\nContent-Length: 7\r\n" in asked


async def test_a_key_that_is_given_is_kept(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        listed(monkeypatch, server.here)
        given = {"idempotency-key": "mine", "content-type": "text/csv"}
        await http.http_request(context, f"http://{server.here}/", method="PUT", headers=given, body="a,b")
    assert "\r\nidempotency-key: mine\r\n" in server.asked[0]
    assert "m.g" not in server.asked[0]
    assert "text/plain" not in server.asked[0]


async def test_a_get_carries_no_key(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        listed(monkeypatch, server.here)
        await http.http_request(context, f"http://{server.here}/")
        await http.http_get(context, f"http://{server.here}/", headers={"X-A": "b"})
    assert not any("Idempotency-Key" in asked for asked in server.asked)
    assert "\r\nX-A: b\r\n" in server.asked[1]


@pytest.mark.parametrize("headers", [{"X-A": "secret\r\nHost: evil"}, {"X A": "secret"}, {"": "secret"}])
async def test_a_header_cannot_smuggle_another_one(
    headers: dict[str, str], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server:
        listed(monkeypatch, server.here)
        with pytest.raises(Reject) as caught:
            await http.http_get(context, f"http://{server.here}/", headers=headers)
    assert "secret" not in str(caught.value)
    assert server.asked == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return key and certificate of `secure.invalid`, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"]
    names = ["-addext", "subjectAltName=DNS:secure.invalid"]
    subprocess.run([openssl, *new, *names, "-keyout", key, "-out", pem], check=True, capture_output=True, timeout=20)
    pem.write_text(key.read_text() + pem.read_text())
    return pem


@pytest.mark.parametrize("name", ["secure.invalid", "other.invalid"])
async def test_a_certificate_is_checked_against_the_name_and_not_the_address(certificate: Path, name: str) -> None:
    serverside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serverside.load_cert_chain(certificate)
    indicated: list[str | None] = []
    serverside.sni_callback = lambda _, indicated_name, __: indicated.append(indicated_name)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(tls=serverside) as server:
        allowed = guard(f"{name}:{server.port}", server.here, resolve=at("127.0.0.1"))
        call = get(f"https://{name}:{server.port}/", allowed, tls=trusting)
        if name == "secure.invalid":
            assert (await call)["status"] == 200
        else:
            with pytest.raises(CallFailed, match="certificate is not accepted: Hostname mismatch"):
                await call
    assert indicated == [name]


@pytest.fixture
def read_settings_again() -> Iterator[None]:
    http_call.configured.cache_clear()
    yield
    http_call.configured.cache_clear()


@pytest.mark.usefixtures("read_settings_again")
@pytest.mark.parametrize(
    ("status", "asked", "outcome"),
    [(b"200 OK", 1, "ok"), (b"404 Not Found", 1, "handler_rejected"), (b"503 Busy", 3, "retries_exhausted")],
)
async def test_an_executor_calls_what_its_settings_list_and_repeats_what_may_succeed(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, status: bytes, asked: int, outcome: str
) -> None:
    policy = RetryPolicy(max_attempts=3, backoff_s=0.01)
    async with serving(OK.replace(b"200 OK", status)) as server, connected(nats_url) as broker:
        monkeypatch.setenv("MISSIONS_HTTP_ALLOW", f"example.com, {server.here}")
        async with executing(broker.settings):
            params = {"url": f"http://{server.here}/", "method": "POST", "json": {"a": 1}}
            mission = await broker.propose(Goal(id="g1", kind="http.request", params=params, retry=policy))
            await broker.outcome(mission)
            assert (await broker.records(mission))[-1].reason == outcome
    assert len(server.asked) == asked
    assert all(f"\r\nIdempotency-Key: {mission}.g1\r\n" in request for request in server.asked)
