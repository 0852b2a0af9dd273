"""The AsyncAPI document is what the code says, and valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import yaml

from contracts import asyncapi, subjects, topology

SPECIFICATION = Path(__file__).parents[1] / "vendor" / "asyncapi-3.0.0.json"
TOKEN = re.compile(r"\{\w+\}")


def test_the_file_is_what_the_code_says() -> None:
    assert asyncapi.FILE.read_text() == asyncapi.rendered(), "run: make docs"


def test_it_is_valid() -> None:
    document = yaml.safe_load(asyncapi.FILE.read_text())
    jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text())).validate(document)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()
    for reference in re.findall(r"'\$ref': '#/([^']+)'", repr(document)):
        found: object = document
        for part in reference.split("/"):
            assert isinstance(found, dict)
            assert part in found, reference
            found = found[part]


def test_every_subject_is_of_the_stream_that_it_names() -> None:
    streams = {stream.name: stream.config["subjects"] for stream in topology.STREAMS}
    for channel in asyncapi.document()["channels"].values():
        subject = TOKEN.sub("x", channel["address"])
        keeps = [name for name, kept in streams.items() if any(matches(pattern, subject) for pattern in kept)]
        assert keeps == ([channel["x-jetstream"]["stream"]] if "x-jetstream" in channel else [])


def test_every_subject_of_a_stream_that_others_use_is_described() -> None:
    described = [TOKEN.sub("x", channel["address"]) for channel in asyncapi.document()["channels"].values()]
    for stream in topology.STREAMS:
        if stream.name not in {topology.SCHEDULES, topology.ARTIFACTS}:  # the orchestrator's own, and an object store's
            for pattern in stream.config["subjects"]:
                assert any(matches(pattern, subject) for subject in described), pattern
    assert {subjects.PROPOSED_FEED, subjects.STATUS_FEED} <= set(described)


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of those that a pattern stands for."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", r".+")
    return re.fullmatch(expression, subject) is not None
