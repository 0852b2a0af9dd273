"""Where the http kinds may connect to, what they send, and what they return of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import SetupError
from services.executor.context import Reject
from services.executor.kinds import http as http_kinds
from services.executor.outside import http_answer, http_call
from services.executor.outside.destinations import AllowList, Destination, Guard, Unresolved, is_public
from services.executor.outside.http_answer import CallFailed
from services.executor.registry import Registry

LIMIT = http_answer.MAX_BODY_BYTES
NEVER_CALLED = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)


def resolving(*addresses: str) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


async def admitted(url: str, *allowed: str, addresses: Sequence[str] = ("93.184.215.14",)) -> Destination:
    return await Guard(AllowList.parse(allowed), resolving(*addresses)).admit(url)


@pytest.mark.parametrize("network", NEVER_CALLED)
def test_both_ends_of_a_special_range_are_refused(network: str) -> None:
    block = ip_network(network)
    assert not is_public(block[0])
    assert not is_public(block[-1])


@given(st.sampled_from(NEVER_CALLED).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_address_of_a_special_range_is_public(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_a_public_address_is_global_for_the_standard_library_too(address: IPv4Address | IPv6Address) -> None:
    assert address.is_global or not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_that_wraps_an_ipv4_address_is_public(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert not is_public(IPv6Address(wrapped))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "100.128.0.0", "172.32.0.1", "2606:4700::1111"])
def test_an_ordinary_address_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "ports"),
    [
        ("api.example.com", "api.example.com", {80, 443}),
        ("API.example.com.", "api.example.com", {80, 443}),
        ("api.example.com:80", "api.example.com", {80}),
        ("bücher.example:8443", "xn--bcher-kva.example", {8443}),
        ("127.0.0.1:9000", "127.0.0.1", {9000}),
        ("::1", "::1", {80, 443}),
        ("[0:0::1]:9000", "::1", {9000}),
    ],
)
def test_an_entry_lists_a_host_with_its_ports(entry: str, host: str, ports: set[int]) -> None:
    assert AllowList.parse([entry]).entries == {(host, port) for port in ports}


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.example.com",
        "https://example.com",
        "10.0.0.0/8",
        "0177.0.0.1",
        "a b",
        "a:b",
        "a:0",
        "a:70000",
        "a/b",
        "a?b",
        "a#b",
        "",
    ],
)
def test_anything_else_is_no_entry(entry: str) -> None:
    with pytest.raises(SetupError, match=r"MISSIONS_HTTP_ALLOW: .* write host or host:port"):
        AllowList.parse([entry])


def test_a_wrong_entry_does_not_show_its_credentials() -> None:
    with pytest.raises(SetupError) as caught:
        AllowList.parse(["ann:secret@example.com"])
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_entry_is_understood_or_refused(entry: str) -> None:
    with suppress(SetupError):
        AllowList.parse([entry])


async def test_without_a_list_nothing_is_called() -> None:
    with pytest.raises(Reject, match=r"MISSIONS_HTTP_ALLOW=api\.example\.com"):
        await admitted("https://example.com/")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://api.example.com.evil.example/",
        "https://api.example.com:8443/",
        "https://xapi.example.com/",
        "http://93.184.215.14/",
        "http://2130706433/",
        "http://[::ffff:93.184.215.14]/",
    ],
)
async def test_a_host_or_port_that_is_not_listed_is_refused(url: str) -> None:
    with pytest.raises(Reject, match="not listed in MISSIONS_HTTP_ALLOW"):
        await admitted(url, "api.example.com")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://a.example/", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("//a.example/", "only http and https"),
        ("a.example", "only http and https"),
        ("https://ann:secret@a.example/", "credentials"),
        (r"https://a.example\@b.example/", "credentials"),
        ("https:///path", "no valid host"),
        ("https://a.example:0/", "no valid host"),
        ("https://a.example:70000/", "no valid host"),
        ("https://[fe80::1%25eth0]/", "no valid host"),
        ("https://a%2eexample/", "no valid host"),
        ("https://a.example\r\n/", "not a URL"),
        ("https://[::1/", "not a URL"),
    ],
)
async def test_a_url_that_is_no_plain_web_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(Reject, match=message) as caught:
        await admitted(url, "a.example")
    assert "secret" not in str(caught.value)


@given(st.text() | st.text().map(lambda text: f"http://{text}"))
async def test_any_text_is_refused_or_is_the_listed_host(text: str) -> None:
    with suppress(Reject):
        assert (await admitted(text, "a.example")).host == "a.example"


@pytest.mark.parametrize("addresses", [["10.0.0.5"], ["93.184.215.14", "10.0.0.5"], ["::ffff:10.0.0.5"]])
async def test_a_name_with_an_address_that_is_not_public_is_refused(addresses: list[str]) -> None:
    with pytest.raises(Reject, match="not public") as caught:
        await admitted("https://a.example/", "a.example", addresses=addresses)
    assert "10.0.0.5" not in str(caught.value)


async def test_a_listed_address_may_be_any() -> None:
    assert (await admitted("http://127.0.0.1:9000/", "127.0.0.1:9000")).addresses == ("127.0.0.1",)
    named = await admitted("http://db.example:9000/", "db.example:9000", "10.0.0.5:9000", addresses=["10.0.0.5"])
    assert named.addresses == ("10.0.0.5",)


async def test_a_listed_address_counts_with_its_port_alone() -> None:
    with pytest.raises(Reject, match="not public"):
        await admitted("http://db.example:80/", "db.example", "10.0.0.5:9000", addresses=["10.0.0.5"])


async def test_every_spelling_of_the_host_is_the_same_host() -> None:
    for url in ("https://A.Example/", "https://a.example./", "https://a.example:443/"):
        assert (await admitted(url, "a.example:443")).host == "a.example"


async def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(Unresolved, match=r"a\.example cannot be resolved"):
        await admitted("https://a.example/", "a.example", addresses=[])


async def test_a_destination_names_itself_without_path_and_query() -> None:
    assert str(await admitted("https://a.example/x?token=secret", "a.example")) == "https://a.example:443"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Proxy-Authorization", "Upgrade"])
def test_headers_that_frame_or_direct_a_request_are_refused(name: str) -> None:
    with pytest.raises(Reject, match=name):
        http_call.request_headers({name: "secret"})


@pytest.mark.parametrize("given_headers", [{"X-A": "sécret"}, {"X-A": "secret" * 4_000}])
def test_an_unfit_header_is_refused_without_showing_its_value(given_headers: dict[str, str]) -> None:
    with pytest.raises(Reject) as caught:
        http_call.request_headers(given_headers)
    assert "cret" not in str(caught.value)


def test_the_params_of_the_kinds_are_those_of_a_request() -> None:
    registry = Registry()
    assert registry.add_module(http_kinds) == 2
    kind = registry.get("http.request")
    assert kind is not None
    assert set(kind.params.model_json_schema()["properties"]) == {
        "url",
        "method",
        "headers",
        "json",
        "body",
        "timeout_s",
    }
    assert kind.validate({"url": "https://a.example/", "json": {"a": 1}})["json_body"] == {"a": 1}


def test_wrong_settings_are_not_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSIONS_HTTP_ALLOW", "*.example.com")
    with pytest.raises(Reject, match="write host or host:port"):
        http_call.configured.__wrapped__()


async def answer(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> dict[str, Any]:
    response = httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content))
    return await http_answer.read(response, "https://a.example/x", "https://a.example:443")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
async def test_another_try_may_mend_an_overloaded_or_broken_server(status: int) -> None:
    with pytest.raises(CallFailed, match=f"answered {status}"):
        await answer(b"", status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_another_try_cannot_mend_the_request(status: int) -> None:
    with pytest.raises(Reject, match=f"answered {status}"):
        await answer(b"", status)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 307, 308])
async def test_other_statuses_are_results(status: int) -> None:
    assert (await answer(b"", status))["status"] == status


async def test_json_is_returned_as_such() -> None:
    result = await answer(b'{"a": [1]}', headers={"Content-Type": "application/problem+json; charset=utf-8"})
    assert (result["json"], "body" in result, result["truncated"]) == ({"a": [1]}, False, False)


@pytest.mark.parametrize("body", [b"{", b"[" * 31 + b"]" * 31, b"NaN", b"[" + b"1e9," * 15_000 + b"1]", b"9" * 5_000])
async def test_json_that_may_not_stand_in_a_record_is_returned_as_text(body: bytes) -> None:
    result = await answer(body, headers={"Content-Type": "application/json"})
    assert result["body"] == body.decode()


async def test_text_is_read_in_its_charset() -> None:
    assert (await answer(b"caf\xe9", headers={"Content-Type": "text/plain; charset=ISO-8859-1"}))["body"] == "café"
    assert (await answer("café".encode(), headers={"Content-Type": "text/plain; charset=idna"}))["body"] == "café"


async def test_a_body_is_cut_at_the_limit_and_between_characters() -> None:
    exact, longer, split = (
        await answer(b"a" * LIMIT),
        await answer(b"a" * LIMIT + b"b"),
        await answer("aé".encode() * LIMIT),
    )
    assert (exact["body"], exact["truncated"]) == ("a" * LIMIT, False)
    assert (longer["body"], longer["truncated"]) == ("a" * LIMIT, True)
    assert set(split["body"]) == {"a", "é"}


@settings(max_examples=25)
@given(st.binary(max_size=300).map(lambda part: part * (2 * LIMIT // max(len(part), 1))))
async def test_whatever_the_body_the_result_fits_into_a_record(body: bytes) -> None:
    assert len(msgspec.json.encode(await answer(body))) < LIMIT + 1_000


async def test_a_compressed_body_is_not_inflated() -> None:
    with pytest.raises(Reject, match="compressed"):
        await answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


async def test_few_headers_are_kept_and_their_values_cut() -> None:
    result = await answer(b"", 302, {"Location": "/" * 5_000, "Set-Cookie": "secret"})
    assert result["headers"] == {"location": "/" * 1_024}


async def test_an_excess_of_headers_is_refused() -> None:
    with pytest.raises(Reject, match="bytes of headers"):
        await answer(b"", headers={"X-Long": "a" * 40_000})
