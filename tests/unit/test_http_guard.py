"""What no request passes: a strange host, no token, the wrong scope, a body that is too large or too slow."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from contracts.errors import SetupError
from services.runtime import guard, http_server, tokens
from services.runtime.health import Health
from services.runtime.http import create_app
from services.runtime.metrics import Metrics
from services.runtime.process import Stop
from services.runtime.settings import Settings, token_of
from tests.support.broker import settings_for
from tests.support.eventually import eventually
from tests.support.site import opened

ANYWHERE = "0.0.0.0"  # noqa: S104 - looked at, not bound


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def made(file: Path, name: str, *scopes: str) -> str:
    token, line = tokens.new(name, scopes)
    file.write_text((file.read_text() if file.exists() else "# who may what\n") + line + "\n")
    return token


def test_with_tokens_nobody_asks_without_one_and_nobody_says_anything_without_the_scope(
    tmp_path: Path, file: Path
) -> None:
    reader, writer = made(file, "page", "read"), made(file, "bot", "write")
    with opened(tmp_path, tokens_file=file) as site:
        get, post = site.client.get, site.client.post
        answer = get("/missions")
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/no-token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert get("/missions", headers=bearer(reader)).status_code == 200
        assert get("/missions", headers=bearer(writer)).status_code == 200
        assert get(f"/missions?token={reader}").status_code == 401
        for wrong in ("", "x", reader[:-1], reader + "x", "ä"):
            assert get("/missions", headers=[(b"Authorization", f"Bearer {wrong}".encode())]).status_code == 401
        assert get("/missions", headers={"Authorization": f"Basic {reader}"}).status_code == 401
        assert post("/missions").status_code == 401
        refused = post("/missions", headers=bearer(reader))
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/not-allowed")
        assert post("/missions", headers=bearer(writer)).status_code == 405
        for path in ("/livez", "/readyz", "/openapi.json", "/problems/no-token"):
            assert get(path).status_code == 200


def test_a_changed_file_is_read_and_a_broken_one_leaves_what_was_valid(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_LOOK_EVERY_S", 0)
    old = made(file, "bot", "write")
    known = tokens.Tokens(file)
    new = made(file, "bot", "write")
    assert known.find(old) is not None
    assert known.find(new) is not None
    file.write_text("rubbish")
    assert known.find(new) is not None
    file.unlink()
    assert known.find(new) is not None
    other = made(file, "other", "read")
    assert known.find(old) is None
    assert known.find(other) == tokens.Token("other", frozenset({"read"}), hashlib.sha256(other.encode()).digest())


@pytest.mark.parametrize("text", ["bot write", "bot root " + "0" * 64, f"bot read {'0' * 63}", "ä read " + "0" * 64])
def test_a_file_that_is_wrong_says_on_which_line(file: Path, text: str) -> None:
    file.write_text(f"# tokens\n\n{text}\n")
    with pytest.raises(SetupError, match="tokens:3"):
        tokens.Tokens(file)


def test_a_name_has_at_most_two_tokens_and_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(SetupError, match="missions token"):
        tokens.Tokens(file)
    for _ in range(3):
        made(file, "bot", "read")
    with pytest.raises(SetupError, match="at most two"):
        tokens.Tokens(file)


def test_a_token_is_sent_from_the_environment_or_a_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mst_secret\n")
    assert token_of(Settings(token_file=tmp_path / "token")) == "mst_secret"
    assert token_of(Settings()) == ""
    assert "secret" not in repr(Settings.model_validate({"token": "mst_secret"}))
    with pytest.raises(SetupError, match="cannot read the token"):
        token_of(Settings(token_file=tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("[::1]:8080", True),
        ("BOARD.example", True),
        ("evil.example", False),
        ("", False),
        ("[", False),
        ("localhost.evil.example", False),
        ("evil.example@localhost", False),
        ("localhost/evil.example", False),
        ("localhost#", False),
        ("localhost:80:80", False),
        ("localhost, evil.example", False),
    ],
)
def test_only_known_hosts_are_answered_for(tmp_path: Path, host: str, allowed: bool) -> None:
    with opened(tmp_path, http_hosts=("board.example",)) as site:
        answer = site.client.get("/stats", headers={"Host": host})
        assert answer.status_code == (200 if allowed else 400)
        assert allowed or answer.json()["type"] == "/problems/unknown-host"


def test_a_request_that_names_two_hosts_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as site:
        for hosts in (("localhost", "evil.example"), ("evil.example", "localhost")):
            answer = site.client.get("/stats", headers=[("Host", host) for host in hosts])
            assert answer.json()["type"] == "/problems/unknown-host"


def test_pages_of_named_origins_may_read_and_no_others(tmp_path: Path) -> None:
    with opened(tmp_path, http_origins=("https://board.example",)) as site:
        answer = site.client.get("/stats", headers={"Origin": "https://board.example"})
        assert answer.headers["access-control-allow-origin"] == "https://board.example"
        assert "access-control-allow-origin" not in site.client.get("/stats", headers={"Origin": "https://a.b"}).headers
        asked = {"Origin": "https://board.example", "Access-Control-Request-Method": "POST"}
        assert site.client.options("/stats", headers=asked).status_code == 400


def test_beyond_loopback_there_must_be_tokens_unless_it_is_said_otherwise(tmp_path: Path, file: Path) -> None:
    with opened(tmp_path) as site:
        for host in ("127.0.0.1", "::1", "localhost"):
            http_server.check_openness(site.app, settings_for("", http_host=host))
        with pytest.raises(SetupError, match="MISSIONS_TOKENS_FILE"):
            http_server.check_openness(site.app, settings_for("", http_host=ANYWHERE))
        http_server.check_openness(site.app, settings_for("", http_host=ANYWHERE, tokens_file=file))
        http_server.check_openness(site.app, settings_for("", http_host=ANYWHERE, http_insecure=True))
    only_health = create_app([], Health(), Metrics("executor"), settings_for(""))
    http_server.check_openness(only_health, settings_for("", http_host=ANYWHERE))


async def test_a_head_that_is_too_long_or_too_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_WITHIN_S", 0.2)
    stop = Stop()
    app = create_app([], Health(), Metrics("executor"), settings_for(""))
    with http_server.bind("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
    serving = asyncio.ensure_future(http_server.serve_http(app, settings_for("", http_port=port), port, stop))

    async def asked(head: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def answers() -> bytes:
        try:
            return await asked(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        except ConnectionRefusedError:
            return b""

    assert b"200 OK" in await eventually(answers)
    several = [b"HEAD /livez", b"GET /livez", b"GET /openapi.json", b"GET /nothing"]
    one_after_the_other = await asked(
        b"".join(what + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for what in several)
        + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert re.findall(rb"HTTP/1\.1 (\d+)", one_after_the_other) == [b"200", b"200", b"200", b"404", b"200"]
    assert one_after_the_other.count(b'{"status":"alive"') == 2
    assert app.state.described in one_after_the_other
    assert await asked(b"GET /livez HTTP/1.1\r\nHost: local") == b""
    assert await asked(b"") == b""
    long = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * http_server.HEAD_BYTES
    assert b"431" in await asked(long + b"\r\n\r\n")
    assert b"431" in await asked(b"GET /" + b"y" * 2 * http_server.HEAD_BYTES)
    refused = await asked("GET /livez?q=é HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 400")
    head, _, body = refused.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head
    assert json.loads(body)["type"] == "/problems/not-understood"
    stop.set()
    await serving


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_PAUSE_S", 0.05)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def unsent(message: Message) -> None:
        raise AssertionError(message)

    async def reads(_: Scope, receive: Receive, __: Send) -> None:
        await receive()

    app = guard.Guard(reads, settings_for(""), None)
    with pytest.raises(guard.SlowBody):
        await app({"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}, never, unsent)
