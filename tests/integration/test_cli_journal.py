"""`missions journal …` on real journals, with a real broker where it needs one, which may have lost its disk."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts import subjects, topology
from contracts.errors import TopologyError, WriteError
from contracts.lifecycle import Status
from missions import Client, Context, goal, restoring
from missions.nats_server import NatsServer
from services.runtime.bus import ApiError, Bus, Unanswered
from services.whiteboard.journal import Journal
from services.whiteboard.record import RESTORED
from tests.support.broker import Broker, connected, settings_for
from tests.support.eventually import eventually
from tests.support.recording import change, mission_id, proposal, stream
from tests.support.recording import whole as records_of
from tests.support.watching import assert_same, complete, whiteboard
from tests.support.whole import Command, whole

#: Each command is a process of its own.
pytestmark = pytest.mark.timeout(90)


async def test_verify_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    missions = Command("nats://127.0.0.1:1", data_dir=str(tmp_path))
    assert (await missions("journal", "verify")).exit_code == 78
    journal = Journal.open(tmp_path / "journal")
    journal.append(stream([*records_of(1), *records_of(2)]))
    journal.close()
    good = await missions("journal", "verify", "--json")
    path = tmp_path / "journal" / "missions.jsonl"
    path.write_bytes(path.read_bytes().replace(b"active", b"passed", 1) + b"torn")
    bad = await missions("journal", "verify")
    assert (good.exit_code, good.json["ok"], good.json["records"], good.json["last_seq"]) == (0, True, 6, 6)
    assert bad.exit_code == 1
    assert f"{path}:2: unreadable: the checksum does not match" in bad.out
    assert f"{path}:7: torn tail" in bad.out
    assert "1 problems" in bad.err


async def test_the_index_is_made_anew_from_the_journal_once_the_whiteboard_is_stopped(
    nats_url: str, tmp_path: Path
) -> None:
    missions = Command(nats_url, data_dir=str(tmp_path))
    async with connected(nats_url) as broker:
        async with whiteboard(nats_url, tmp_path) as board:
            await complete(broker, 3)
            await board.reaches(9)
            refused = await missions("journal", "rebuild", "--from", "journal")
        rebuilt = await missions("journal", "rebuild", "--from", "journal", "--json")
    assert refused.exit_code == 78
    assert "another process writes" in refused.err
    assert (rebuilt.exit_code, rebuilt.json) == (0, {"missions": 3, "last_seq": 9, "gaps": 0, "kept": ""})


async def test_the_journal_is_made_anew_from_the_stream_and_the_old_one_kept(nats_url: str, tmp_path: Path) -> None:
    missions = Command(nats_url, data_dir=str(tmp_path))
    async with connected(nats_url) as broker:
        assert (await missions("journal", "rebuild", "--from", "stream")).exit_code == 78
        await complete(broker, 5)
        journal = Journal.open(tmp_path / "journal")
        journal.append(stream(records_of(1)))  # another stream's
        journal.close()
        old = (tmp_path / "journal" / "missions.jsonl").read_bytes()
        rebuilt = await missions("journal", "rebuild", "--from", "stream", "--json")
        assert rebuilt.exit_code == 0, rebuilt.err
        assert (rebuilt.json["missions"], rebuilt.json["last_seq"]) == (5, 15)
        assert (Path(rebuilt.json["kept"]) / "missions.jsonl").read_bytes() == old
        async with whiteboard(nats_url, tmp_path) as board:
            await assert_same(broker, board)


class Work:
    """A goal whose second step stands still until it is told, and what was run."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.may_end = threading.Event()

    def goals(self) -> list[object]:
        @goal("first")
        def first() -> str:
            self.ran.append("first")
            return "one"

        @goal("second", timeout=60)
        def second(ctx: Context) -> str:
            self.ran.append("second")
            while not self.may_end.wait(0.05) and not ctx.cancelled:
                pass
            return "two"

        return [first, second]


async def test_a_broker_that_lost_its_disk_is_told_what_it_must_know(nats_server: NatsServer, tmp_path: Path) -> None:
    data, url, work = tmp_path / "data", nats_server.url, Work()
    missions = Command(url, data_dir=str(data))
    steps = ({"id": "a", "kind": "first"}, {"id": "b", "kind": "second", "needs": ["a"]})
    async with whole(url, data, *work.goals()) as board, Client(url) as client:  # type: ignore[arg-type]
        done = await client.say("/run echo text=hi", id="event-1")
        await client.wait(done)
        running = await client.say(goals=list(steps), id="event-2", deadline_s=3_000)
        await eventually(lambda: "second" in work.ran)
        seq = (await board.get("/stats"))["seq"]
        before = await board.get(f"/missions/{done}")
    nats_server.kill()
    shutil.rmtree(nats_server.data_dir)
    work.ran.clear()
    nats_server.start()

    restored = await missions("journal", "restore-stream", "--json")
    assert restored.exit_code == 0, restored.err
    assert (restored.json["missions"], restored.json["open"], restored.json["lost"]) == (2, 1, [])
    assert restored.json["first"] >= seq + 1_000_000
    assert (await missions("setup", "--check", "--lease", "2")).exit_code in {0, 78}  # 78: the lease differs

    async with connected(url) as broker:
        await _is_final(broker, done)
        assert await broker.bus.head(topology.SCHEDULES, subjects.chat_schedule(f"expire-{running}"))
    work.may_end.set()
    async with whole(url, data, *work.goals()) as board, Client(url) as client:  # type: ignore[arg-type]
        assert (await client.wait(running))["result"] == "two"
        assert work.ran == ["second"]  # what was finished is not run again
        assert await client.say("/run echo text=hi", id="event-1") == done
        await board.ready()
        assert (await board.get("/stats"))["records"] == {"illegal": 0, "unreadable": 0}
        assert await board.get(f"/missions/{done}") == before
        view = await board.get(f"/missions/{running}?wait=10")
        assert (view["status"], view["attempt"]) == ("completed", 2)
        records = board.records()
        note = next(record for record in records if record.subject == RESTORED)
        assert note.seq == restored.json["last"] == json.loads(note.data)["last"]
        assert [record.seq for record in records if record.seq > note.seq] == [
            note.seq + number for number in range(1, records[-1].seq - note.seq + 1)
        ]
    assert (await missions("journal", "verify")).exit_code == 0


async def _is_final(broker: Broker, mission_id: str) -> None:
    """See that the broker refuses a further proposal and a further status of a mission that is over."""
    for subject in (subjects.proposed("default", mission_id), subjects.status("default", mission_id)):
        with pytest.raises(ApiError, match="wrong last sequence"):
            await broker.bus.publish_acked(subject, b"{}", {"Nats-Expected-Last-Subject-Sequence": "0"})


async def test_a_stream_that_holds_something_is_replaced_only_when_told_to(nats_url: str, tmp_path: Path) -> None:
    missions = Command(nats_url, data_dir=str(tmp_path))
    journal = Journal.open(tmp_path / "journal")
    journal.append(stream(records_of(1)))
    journal.close()
    async with connected(nats_url) as broker:
        await complete(broker, 1)
        refused = await missions("journal", "restore-stream")
        replaced = await missions("journal", "restore-stream", "--replace", "--margin", "10", "--json")
        again = await missions("journal", "restore-stream", "--json")
        state = await broker.bus.stream_state(topology.MISSIONS)
    assert (refused.exit_code, again.exit_code) == (78, 0)
    assert "use --replace" in refused.err
    assert again.json == replaced.json
    assert (replaced.exit_code, replaced.json["first"], replaced.json["last"]) == (0, 14, 15)
    assert (state.first_seq, state.last_seq) == (14, 15)


async def test_a_restoring_that_broke_off_is_begun_again(nats_url: str, tmp_path: Path) -> None:
    missions = Command(nats_url, data_dir=str(tmp_path))
    journal = Journal.open(tmp_path / "journal")
    journal.append(stream(records_of(1)))
    journal.close()
    async with connected(nats_url) as broker:
        await broker.bus.api("STREAM.DELETE.MISSIONS")
        left = {
            "name": "MISSIONS",
            "subjects": ["restore.missions.*.*.*"],
            "storage": "file",
            "metadata": {"restoring": "3"},
        }
        await broker.bus.api("STREAM.CREATE.MISSIONS", left)
        await broker.bus.publish_acked("restore.missions.status.default.x", b"{}")
        restored = await missions("journal", "restore-stream", "--json")
        assert (restored.exit_code, restored.json["missions"]) == (0, 1)
        async with whiteboard(nats_url, tmp_path) as board:
            await complete(broker, 1)
            await board.reaches(restored.json["last"] + 3)


class BreaksOff(Bus):
    """A connection that breaks off at the n-th thing that is asked of it, before or after that was done."""

    asked = 0
    at = 0
    done = False

    async def request(self, *what: Any, **named: Any) -> Any:
        BreaksOff.asked += 1
        if BreaksOff.asked == self.at and not self.done:
            raise Unanswered("broken off")
        answer = await super().request(*what, **named)
        if BreaksOff.asked == self.at:
            raise Unanswered("broken off")
        return answer


@pytest.mark.timeout(300)
@pytest.mark.parametrize("done", [False, True])
async def test_a_restoring_that_breaks_off_anywhere_may_be_run_again(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, done: bool
) -> None:
    monkeypatch.setattr(restoring, "_MAX_BATCH", 3)
    settings = settings_for(nats_url, data_dir=tmp_path)
    journal = Journal.open(tmp_path / "journal")
    open_ones = [proposal(2, deadline=datetime(2100, 1, 1, tzinfo=UTC)), change(2, Status.ACTIVE)]
    open_ones += [proposal(3), change(3, Status.WAITING)]
    journal.append(stream([*records_of(1), *open_ones, *records_of(4)]))
    journal.close()
    monkeypatch.setattr(restoring, "Bus", BreaksOff)
    monkeypatch.setattr(BreaksOff, "done", done)
    await restoring.restore(settings, margin=10)
    questions = BreaksOff.asked
    assert questions > 10
    for number in range(1, questions):
        monkeypatch.setattr(BreaksOff, "asked", 0)
        monkeypatch.setattr(BreaksOff, "at", number)
        with suppress(WriteError, TopologyError):
            await restoring.restore(settings, replace=True, margin=10)
        monkeypatch.setattr(BreaksOff, "at", 0)
        await _is_restored(nats_url, await restoring.restore(settings, margin=10))


async def _is_restored(nats_url: str, restored: restoring.Restored) -> None:
    async with connected(nats_url) as broker:
        state = await broker.bus.stream_state(topology.MISSIONS)
        assert (restored.missions, restored.open, restored.damaged) == (4, 2, 0)
        assert (state.created, state.first_seq, state.last_seq) == (restored.created, restored.first, restored.last)
        assert state.messages == 8
        assert await broker.bus.head(topology.SCHEDULES, subjects.chat_schedule(f"expire-{mission_id(2)}"))
