"""The API is what its own description says: whatever is sent, no 500 and no answer outside its schema."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from contracts.lifecycle import Status
from contracts.messages import ChatEvent
from services.orchestrator.app import create_app as orchestrator_app
from services.runtime.health import Health
from services.runtime.metrics import Metrics
from services.runtime.openapi import Operation
from tests.support.broker import settings_for
from tests.support.documented import ROOT
from tests.support.recording import change, mission_id, proposal, stream
from tests.support.site import Site, mixed, opened

#: Answers that never end are tested in test_whiteboard_feed.
ENDLESS = {"/events"}


class Door:
    """Takes every event, and stores none."""

    async def publish(self, event: ChatEvent) -> str:
        return event.command.mission_id if event.command else mission_id(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened(tmp_path_factory.mktemp("site"), door=Door(), http_hosts=("*",)) as site:
        site.take(mixed())
        site.take(stream([proposal(6), change(6, Status.ACTIVE), change(6, Status.WAITING)], first=11))
        yield site


def test_the_document_is_valid_and_the_one_that_is_kept(site: Site) -> None:
    kept = (ROOT / "docs" / "openapi.json").read_text()
    assert kept == runpy.run_path(str(ROOT / "docs" / "generate.py"))["described"](), "run: make docs"
    assert msgspec.json.decode(kept) == site.get("/openapi.json")
    validate(msgspec.json.decode(kept))


def test_every_route_describes_itself(site: Site) -> None:
    app = orchestrator_app(Door(), Health(), Metrics("orchestrator"), settings_for(""))  # type: ignore[arg-type]  # a door
    for route in (*site.app.routes, *app.routes):
        assert isinstance(route, Operation)
        assert route.answers or route.media_types
    validate(msgspec.json.decode(app.state.described))


HEADERS = [{}, {}, {"If-None-Match": '"3"'}, {"If-None-Match": "*"}, {"Accept-Encoding": "gzip"}]
Query = list[tuple[str, str | int | float | bool | None]]
DOCUMENT: dict[str, Any] = msgspec.json.decode((ROOT / "docs" / "openapi.json").read_bytes())
OPERATIONS = [
    (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods if path not in ENDLESS
]
#: What is waited for would make this a test of patience.
PATIENCE = {"wait", "min_seq"}
TEXTS = st.text(max_size=40) | st.sampled_from(["", "0", "-1", "1e9", "null", "%00", "a.b", "2026-01-01T00:00:04Z"])


def values(name: str, schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Draw values of a parameter: what its schema allows, and anything else."""
    if schema.get("type") == "array":
        return values(name, schema["items"])
    allowed: st.SearchStrategy[str] = TEXTS
    if "enum" in schema:
        allowed = st.sampled_from(schema["enum"])
    elif schema.get("type") == "integer":
        allowed = st.integers(schema.get("minimum", 0), 20).map(str)
    elif "pattern" in schema:
        allowed = st.from_regex(schema["pattern"], fullmatch=True)
    elif name == "mission_id":
        allowed = st.builds(lambda number, length: mission_id(number)[:length], st.integers(1, 8), st.integers(3, 26))
    return allowed | allowed | TEXTS


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], Query, bytes]:
    """Draw an operation, a path, headers, a query and a body."""
    method, path = draw(st.sampled_from(OPERATIONS))
    target, query = path, Query()
    for parameter in DOCUMENT["paths"][path][method].get("parameters", []):
        name, drawn = parameter["name"], values(parameter["name"], parameter["schema"])
        if parameter["in"] == "path":
            target = target.replace(f"{{{name}}}", quote(draw(drawn), safe=""))
        elif name not in PATIENCE:
            query += [(name, value) for value in draw(st.lists(drawn, max_size=2))]
    headers = draw(st.sampled_from(HEADERS))
    return method, target, headers, query, draw(BODIES) if method == "post" else b""


JSONS = st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, lambda part: st.lists(part, max_size=3))
BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(["message", "text", "conversation", "id", "goals", "command", "x"]), JSONS).map(
        msgspec.json.encode
    ),
)


def assert_as_described(path: str, method: str, answer: Any) -> None:
    """Check status, media type and content of an answer against the document."""
    described = DOCUMENT["paths"][path][method]["responses"][str(answer.status_code)]
    if answer.status_code == 304:
        assert not answer.content
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    if media_type in {"application/json", "application/problem+json"}:
        jsonschema.validate(answer.json(), {**schema, "components": DOCUMENT["components"]})


@pytest.mark.timeout(200)  # hundreds of requests
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@example(request_=("get", "/missions/%2F", {}, [], b""))
@given(request_=requests())
def test_no_request_is_answered_with_500_or_outside_its_schema(
    site: Site, request_: tuple[str, str, dict[str, str], Query, bytes]
) -> None:
    method, target, headers, query, body = request_
    answer = site.client.request(method, target, headers=headers, params=query, content=body, follow_redirects=False)
    assert answer.status_code not in {500, 501}
    described = [path for path in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), target)]
    if described:
        assert_as_described(described[0], method, answer)
    else:  # a parameter of the path that is empty, or another path
        assert answer.status_code in {404, 405}
