"""Subjects, topology, errors and the generated schemas."""

from __future__ import annotations

import jsonschema
import msgspec
import pytest

from contracts import codec, errors, messages, schema_export, subjects, topology
from contracts.lifecycle import Status


@pytest.mark.parametrize("name", sorted(schema_export.MESSAGES))
def test_the_schema_file_is_what_the_messages_say(name: str) -> None:
    kept = (schema_export.FOLDER / f"{name}.json").read_text()
    assert kept == schema_export.rendered(name), "run: python -m contracts.schema_export"


def test_a_real_record_is_valid_by_its_schema() -> None:
    record = messages.status_record(event_id="m.1.1", mission_id="m", status=Status.ACTIVE, actor="a", attempt=1)
    jsonschema.validate(msgspec.json.decode(codec.encode(record)), schema_export.schema_of("status"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"status": "paused"}, schema_export.schema_of("status"))


def test_every_subject_we_publish_is_in_exactly_one_stream() -> None:
    published = [
        subjects.chat_events("ops"),
        subjects.CHAT_EVENTS,
        subjects.reply("ops", "m", "result"),
        subjects.chat_schedule("daily"),
        subjects.chat_due("ops"),
        subjects.proposed("default", "m"),
        subjects.status("default", "m"),
        subjects.deadletters("executor"),
        subjects.kind("default", "http.get"),
    ]
    for subject in published:
        holders = [
            stream.name
            for stream in topology.STREAMS
            for pattern in stream.config["subjects"]
            if covers(pattern, subject)
        ]
        assert len(holders) == 1, f"{subject} is in {holders}"


def test_what_is_core_nats_is_in_no_stream() -> None:
    for subject in (subjects.PROPOSED_FEED, subjects.STATUS_FEED, subjects.signals("default")):
        assert not [
            pattern for stream in topology.STREAMS for pattern in stream.config["subjects"] if covers(pattern, subject)
        ]


def test_a_record_subject_is_taken_apart_as_it_was_built() -> None:
    assert subjects.parse_record(subjects.status("gpu", "m1")) == ("status", "gpu", "m1")
    for wrong in ("missions.status.gpu", "missions.other.gpu.m1", "chat.events.a.b"):
        with pytest.raises(errors.InvalidIdentifier):
            subjects.parse_record(wrong)


def test_every_error_says_something_and_has_an_exit_code() -> None:
    def tree(kind: type[errors.MissionsError]) -> list[type[errors.MissionsError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    for kind in tree(errors.MissionsError):
        if kind.__module__ == errors.__name__ and kind is not errors.Lost:
            assert str(kind()).strip()
        assert 0 < kind.exit_code < 128


def covers(pattern: str, subject: str) -> bool:
    """Match a subject against a pattern with `*` and `>`, as the broker does."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index >= len(given) or part not in {"*", given[index]}:
            return False
    return len(wanted) == len(given)
