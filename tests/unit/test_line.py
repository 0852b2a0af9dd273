from __future__ import annotations

import msgspec
import pytest

from contracts.messages import Artifact, GoalStatus, LogLine, Progress, now
from services.executor.reports.line import Facts, Kept, Logged, Progressed, Report, Said

FACTS = Facts(mission_id="m", goal_id="g1", kind="k", attempt=1, fence=1)
ARTIFACT = Artifact(name="a.txt", size_bytes=1, sha256="0" * 64)
LATER = Artifact(name="b.txt", size_bytes=1, sha256="1" * 64)
LINE = LogLine(at=now(), level="info", text="hi")
STATUS = GoalStatus(id="g1", kind="k", status="active")


@pytest.mark.parametrize("said", [Progressed(Progress(done=1)), Logged(LINE), Kept(ARTIFACT, "file")])
def test_what_is_said_crosses_a_socket(said: Said) -> None:
    assert msgspec.json.decode(msgspec.json.encode(said), type=Said) == said


def test_an_artifact_is_named_only_when_it_is_stored() -> None:
    kept: list[Kept] = []
    report = Report(FACTS, kept.append)
    report.tell(Kept(ARTIFACT, "file"))
    assert (kept, report.take().artifacts) == ([Kept(ARTIFACT, "file")], ())
    report.stored(ARTIFACT)
    assert report.take().in_status(STATUS).artifacts == (ARTIFACT,)


def test_an_artifact_is_named_until_a_record_holds_it() -> None:
    report = Report(FACTS)
    report.stored(ARTIFACT)
    told = report.take()
    report.stored(LATER)
    assert report.take().artifacts == (ARTIFACT, LATER)
    report.written(told)
    assert report.take().artifacts == (LATER,)


def test_an_artifact_that_is_kept_again_is_named_once_as_it_was_last() -> None:
    report = Report(FACTS)
    newer = Artifact(name=ARTIFACT.name, size_bytes=2, sha256="2" * 64)
    for artifact in (ARTIFACT, LATER, ARTIFACT, newer):
        report.stored(artifact)
    told = report.take()
    assert set(told.artifacts) == {LATER, newer}
    report.stored(ARTIFACT)
    report.written(told)
    assert report.take().artifacts == (ARTIFACT,)


def test_lines_alone_are_no_reason_for_a_record() -> None:
    report = Report(FACTS)
    report.tell(Logged(LINE))
    assert not report.has_progressed
    report.tell(Progressed(Progress(done=1, total=2)))
    assert report.has_progressed
    assert report.take().in_status(STATUS).log == (LINE,)
    assert not report.take()


def test_what_could_not_be_written_is_said_again() -> None:
    report = Report(FACTS)
    report.tell(Logged(LINE))
    report.stored(ARTIFACT)
    report.tell(Progressed(Progress(done=1)))
    told = report.take()
    report.put_back(told)
    report.tell(Progressed(Progress(done=2)))
    again = report.take()
    assert (again.progress, again.artifacts, again.log) == (Progress(done=2), (ARTIFACT,), (LINE,))
