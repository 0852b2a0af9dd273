"""What a whiteboard does for its journal while it runs, against a real broker."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import JournalError
from contracts.messages import Goal
from services.runtime.process import Stop
from services.whiteboard import care
from services.whiteboard.record import FORK, RENEWED
from services.whiteboard.service import serve
from tests.support.broker import connected, settings_for
from tests.support.eventually import eventually
from tests.support.watching import Board, assert_same, complete, starting_whiteboard, whiteboard


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let care be taken often, and files be small."""
    monkeypatch.setattr(care, "_EVERY_S", 0.1)
    monkeypatch.setattr(care, "_READ_PAUSE_S", 0.0)
    monkeypatch.setenv("MISSIONS_JOURNAL_SEGMENT_MB", "0.01")


def stats(board: Board, wanted: Callable[[Any], bool]) -> Callable[[], Awaitable[bool]]:
    """Return a condition on the answer of `/stats`."""

    async def holds() -> bool:
        status, content = await board.answer("/stats")
        return status == 200 and wanted(content["journal"])

    return holds


def forgotten(board: Board, seq: int) -> Callable[[], Awaitable[bool]]:
    """Return the condition that missions have gone with their records."""

    async def holds() -> bool:
        return int((await board.get("/stats"))["missions"]) < seq // 3

    return holds


async def grow(broker: Any, board: Board, batches: int) -> int:
    """Put missions on the broker, a batch of the journal each, and return the last sequence."""
    seq = 0
    for _ in range(batches):
        await complete(broker, 10)
        seq = (await broker.bus.stream_state("MISSIONS")).last_seq
        await board.reaches(seq)
    return seq


async def test_a_whiteboard_repairs_its_journal_from_the_stream(nats_url: str, tmp_path: Path) -> None:
    async with connected(nats_url) as broker:
        async with whiteboard(nats_url, tmp_path) as board:
            await grow(broker, board, 4)
        damaged = sorted(board.folder.glob("missions.*-*.jsonl"))[1]
        for path in (damaged, board.folder / "missions.jsonl"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        async with starting_whiteboard(nats_url, tmp_path) as board:
            await eventually(lambda: len(list(board.folder.glob("quarantine/damaged-*"))) == 2)
            await eventually(stats(board, lambda journal: journal["damaged_lines"] == 0))
            await board.ready()
            await assert_same(broker, board)


@pytest.mark.parametrize("place", [0.0, 0.5])
async def test_an_index_that_was_made_from_a_damaged_journal_is_made_anew_once_that_is_repaired(
    nats_url: str, tmp_path: Path, place: float
) -> None:
    async with connected(nats_url) as broker:
        async with whiteboard(nats_url, tmp_path) as board:
            await grow(broker, board, 4)
            before = await board.get("/missions?limit=500")
        damaged = sorted(board.folder.glob("missions.*-*.jsonl"))[1]
        content = damaged.read_bytes().splitlines(keepends=True)
        del content[int(len(content) * place) : int(len(content) * place) + 5]
        damaged.write_bytes(b"".join(content))
        (tmp_path / "index.sqlite").unlink()
        told = pytest.RaisesExc(JournalError, match="repaired by now, could not be read. A restart rebuilds it")
        with pytest.RaisesGroup(told, flatten_subgroups=True):
            await serve(settings_for(nats_url, data_dir=tmp_path), Stop())
        async with whiteboard(nats_url, tmp_path) as board:
            assert await board.get("/missions?limit=500") == before
            await assert_same(broker, board)


async def test_full_files_are_compressed_and_read_as_before(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSIONS_JOURNAL_COMPRESS", "true")
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        ids = await complete(broker, 10)
        seq = await grow(broker, board, 4)
        await eventually(lambda: len(list(board.folder.glob("missions.*.jsonl.gz"))) >= 2)
        events = await board.get(f"/missions/{ids[0]}/events")
        assert [json.loads(json.dumps(item))["data"].get("status", "proposed") for item in events["items"]] == [
            "proposed",
            "active",
            "completed",
        ]
    (tmp_path / "index.sqlite").unlink()
    async with whiteboard(nats_url, tmp_path) as board:
        assert (await board.get("/stats"))["by_status"]["completed"] == seq // 3


async def test_the_oldest_files_go_and_the_board_says_where_it_begins(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSIONS_JOURNAL_KEEP_MB", "0.03")
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        kept = await broker.propose(Goal(id="g1", kind="echo"))
        seq = await grow(broker, board, 8)
        await eventually(stats(board, lambda journal: journal["first_seq"] > 1 and journal["size_bytes"] < 60_000))
        await eventually(forgotten(board, seq))
        first = (await board.get("/stats"))["journal"]["first_seq"]
        status, answer = await board.answer("/missions?as_of=1")
        assert (status, answer["title"]) == (410, "Gone"), answer
        assert (await board.answer("/diff?from=1"))[0] == 410
        events = await board.get(f"/missions/{kept}/events")
        assert (events["items"], events["gaps"][0]["first"]) == ([], 1)
        assert events["gaps"][0]["last"] >= first - 1
        for at in ("", f"?as_of={seq}", "?as_of=1"):
            assert (await board.get(f"/missions/{kept}{at}"))["status"] == "proposed"
        completed = (await board.get("/stats"))["by_status"]["completed"]
        shown = len((await board.get(f"/missions?as_of={seq}&limit=500"))["items"])
        first = (await board.get("/stats"))["journal"]["first_seq"]  # more may have gone meanwhile
        assert min(completed, shown) >= (seq - first + 1) // 3
    (tmp_path / "index.sqlite").unlink()
    monkeypatch.setenv("MISSIONS_JOURNAL_KEEP_MB", "0")
    async with whiteboard(nats_url, tmp_path) as board:
        await board.reaches(seq)
        assert (await board.get("/stats"))["journal"]["first_seq"] >= first


@pytest.mark.parametrize(("first_seq", "subject"), [(1, FORK), (100, RENEWED)])
async def test_a_stream_that_is_made_anew_under_a_running_whiteboard_is_noticed(
    nats_url: str, tmp_path: Path, first_seq: int, subject: str
) -> None:
    async with connected(nats_url) as broker, whiteboard(nats_url, tmp_path) as board:
        await complete(broker, 2)
        await board.reaches(6)
        config = (await broker.bus.api("STREAM.INFO.MISSIONS"))["config"]
        await broker.bus.api("STREAM.DELETE.MISSIONS")
        await broker.bus.api("STREAM.CREATE.MISSIONS", {**config, "first_seq": first_seq})
        async with connected(nats_url) as again:
            await complete(again, 3)
        await board.red("stream" if subject == FORK else "loss", "made anew" if subject == RENEWED else "journal")
        note = next(record for record in board.records() if record.is_note)
        assert note.subject == subject
        if subject == RENEWED:
            await board.reaches(108)
            assert (json.loads(note.data)["first"], json.loads(note.data)["last"]) == (7, 99)
