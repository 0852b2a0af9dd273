from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import artifacts, ids
from contracts.errors import InvalidIdentifier
from contracts.messages import Artifact
from services.executor.reports import spool
from services.executor.reports.spool import Spool

MISSION = ids.mission_id("test", "1")
SHA = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("name", ["report.pdf", "größe 1%.txt", "x", "a" * 128, "a.tar.gz", "result.json"])
def test_the_name_of_a_file_is_a_name(name: str) -> None:
    assert artifacts.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "a\\b", ".env", "a.", "a ", " a", "a\n", "a\x00", "a" * 129, "C:a", "\ud800"]
)
def test_what_leads_elsewhere_or_is_no_name_on_some_system_is_refused(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        artifacts.check_name(name)


@given(st.text())
def test_a_name_is_one_part_of_a_path_or_refused(name: str) -> None:
    try:
        artifacts.check_name(name)
    except InvalidIdentifier:
        return
    assert Path(name).name == name
    found = artifacts.object_name(MISSION, "g1", Artifact(name=name, size_bytes=0, sha256=SHA))
    assert artifacts.parse_object_name(str(found)) == found


@pytest.mark.parametrize("text", ["", "a/b/c/d", f"{MISSION}/g1/{SHA[:16]}", f"{MISSION}/g 1/{SHA[:16]}/a", "x" * 300])
def test_the_name_of_another_object_is_not_ours(text: str) -> None:
    assert artifacts.parse_object_name(text) is None


@pytest.mark.parametrize(
    ("given_type", "name", "found"),
    [
        (None, "a.csv", "text/csv"),
        (None, "a", "application/octet-stream"),
        (None, "a.tar.gz", "application/octet-stream"),
        ("image/png", "a", "image/png"),
    ],
)
def test_the_media_type_is_guessed_from_the_name(given_type: str | None, name: str, found: str) -> None:
    assert artifacts.check_media_type(given_type, name) == found


@pytest.mark.parametrize("text", ["", "text", "text/plain; charset=x", "text/pl\nain", "a/b/c"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        artifacts.check_media_type(text, "a")


def test_a_claim_check_is_recognised_decoded_or_not() -> None:
    artifact = Artifact(name="result", size_bytes=7, sha256=SHA, media_type="application/json")
    written = artifacts.claim_check(artifact)
    assert artifacts.claimed(msgspec.Raw(written)) == artifacts.claimed(msgspec.json.decode(written)) == artifact


@pytest.mark.parametrize("result", [None, 7, {}, {"$artifact": "result"}, "x", [1], {"$artifact": 1, "sha256": SHA}])
def test_any_other_result_is_itself(result: object) -> None:
    assert artifacts.claimed(result) is None
    assert artifacts.claimed(msgspec.Raw(msgspec.json.encode(result))) is None


@pytest.fixture
def tmp_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Spool()


def test_a_spool_removes_what_a_killed_process_left_and_no_other(tmp_spool: Spool, tmp_path: Path) -> None:
    left = tmp_path / "missions-spool-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "file").touch()
    other = Spool()
    assert (left.exists(), tmp_spool.folder.exists()) == (False, True)
    other.close()
    tmp_spool.close()
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_spool_is_in_the_spool(tmp_spool: Spool) -> None:
    for name in ("../x", "/etc/passwd", "", "..", "lock"):
        with pytest.raises(ValueError, match="no file of the spool"):
            tmp_spool.file(name)
    tmp_spool.close()


def test_only_files_texts_and_bytes_are_kept(tmp_spool: Spool, tmp_path: Path) -> None:
    place = tmp_spool.place("try-1")
    (tmp_path / "file").write_bytes(b"1234")
    for data in ("1234", b"1234", bytearray(b"1234"), tmp_path / "file"):
        artifact, file = spool.put(place, "a.txt", data, None, 4)  # type: ignore[arg-type]  # bytearrays are bytes too
        assert (artifact.size_bytes, tmp_spool.file(file).read_bytes()) == (4, b"1234")
        with pytest.raises(ValueError, match="3 are allowed"):
            spool.put(place, "a.txt", data, None, 3)  # type: ignore[arg-type]  # as above
    for bad, error in ((7, TypeError), (tmp_path, FileNotFoundError), (tmp_path / "none", FileNotFoundError)):
        with pytest.raises(error):
            spool.put(place, "a.txt", bad, None, 9)  # type: ignore[arg-type]  # what a handler should not do
    assert len(list(tmp_spool.folder.iterdir())) == 5
    tmp_spool.clear(tmp_spool.place("try-10"))
    assert len(list(tmp_spool.folder.iterdir())) == 5
    tmp_spool.clear(place)
    assert [path.name for path in tmp_spool.folder.iterdir()] == ["lock"]
    tmp_spool.close()
