"""Whatever is killed, frozen or ended while missions run: nothing acknowledged is lost, and each ends once."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from contracts import codec, subjects, topology
from contracts.errors import Lost
from contracts.lifecycle import Status
from contracts.messages import ChatEvent, StatusRecord
from missions.testing.history import History, histories
from services.runtime.incoming import Incoming
from services.runtime.writer import Writer
from tests.support.chatter import mission_id, mixed
from tests.support.drill import WITHIN_S, Drill, drill, running
from tests.support.eventually import eventually
from tests.support.placed import is_alive

pytestmark = pytest.mark.timeout(180)

LOAD = 300
FROZEN = 300
SERVICES = ["executor", "whiteboard", "orchestrator"]
EXECUTORS = ["executor", "executor-2"]
#: How many records are there when something happens: some missions are over, some run, some are yet to be said.
MIDDLE = (150, 500)


@pytest.mark.parametrize("victim", [*SERVICES, "nats"])
async def test_kill_9_under_load_loses_nothing_and_every_mission_ends_once(tmp_path: Path, victim: str) -> None:
    async with drill(tmp_path) as drilled:
        saying = asyncio.ensure_future(drilled.say(mixed(LOAD)))
        for records in MIDDLE:
            await drilled.until_stored(records)
            await asyncio.to_thread(drilled.stack.kill, victim)
        await saying
        found = histories(await drilled.verify())
        if victim == "executor":
            assert any(record.attempt > 1 for history in found.values() for record in history.statuses)


@pytest.mark.parametrize("service", SERVICES)
async def test_sigterm_under_load_ends_a_service_in_order_and_loses_nothing(tmp_path: Path, service: str) -> None:
    async with drill(tmp_path) as drilled:
        saying = asyncio.ensure_future(drilled.say(mixed(LOAD // 2)))
        await drilled.until_stored(MIDDLE[0])
        process = running(drilled.stack, service)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, WITHIN_S) == 0  # it ends itself with 1 where 5 s are not enough
        await asyncio.to_thread(drilled.stack.wait_ready, within_s=WITHIN_S)
        await saying
        await drilled.verify()


async def test_a_finished_goal_is_not_run_again_after_its_executor_was_killed(tmp_path: Path) -> None:
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    events = [
        ChatEvent(
            id=f"evt-{n}",
            text=f"/run mark file={trace} line=first-{n}\n"
            f"/run mark file={trace} line=second-{n}\n"
            f"/run hold gate={gate}\n"
            f"/run mark file={trace} line=last-{n}",
        )
        for n in range(30)
    ]
    async with drill(tmp_path / "data") as drilled:
        await drilled.say(events)
        await drilled.until_stored(4 * len(events))  # proposed, active, first done, second done: now they are held
        await asyncio.to_thread(drilled.stack.kill, "executor")
        gate.touch()
        found = histories(await drilled.verify())
    lines = Counter(trace.read_text().split())
    assert lines == {f"{which}-{n}": 1 for which in ("first", "second", "last") for n in range(len(events))}
    for history in found.values():
        assert (history.outcomes[0].status, history.outcomes[0].attempt) == (Status.COMPLETED, 2)


class Acks:
    """The acknowledgements that executors send, as the broker hears them: (stream sequence, number of delivery)."""

    def __init__(self) -> None:
        self.sent: Counter[tuple[int, int]] = Counter()

    async def listen(self, drilled: Drill) -> None:
        """Hear every acknowledgement from now on."""
        ack = f"$JS.ACK.{topology.MISSIONS}.{topology.executor_durable('default')}.>"
        await (await drilled.bus()).subscribe(ack, self._on_ack)

    async def _on_ack(self, answer: Incoming) -> None:
        if answer.data == b"+ACK":
            deliveries, seq = answer.subject.split(".")[4:6]
            self.sent[int(seq), int(deliveries)] += 1


async def claims(drilled: Drill, events: list[ChatEvent]) -> dict[str, tuple[int, StatusRecord]]:
    """Wait until every mission is owned, and return the sequence and the record of each claim."""
    await drilled.until_stored(2 * len(events))
    found = {event.id: (await drilled.records(mission_id(event)))[0] for event in events}
    return {name: (stored.seq, codec.decode_status(stored.data)) for name, stored in found.items()}


def executor_of(drilled: Drill, actor: str) -> str:
    """Return the process whose id stands in the name of an actor."""
    return next(name for name in EXECUTORS if str(running(drilled.stack, name).pid) in actor.split("/"))


async def test_an_owner_that_was_frozen_for_longer_than_its_lease_changes_nothing_when_it_wakes(tmp_path: Path) -> None:
    gate, database = tmp_path / "gate", tmp_path / "effects.sqlite"
    text = f"/run hold.fenced gate={gate} database={database}"
    events = [ChatEvent(id=f"evt-{n}", text=text) for n in range(FROZEN)]
    async with drill(tmp_path / "data", executors=2, lease_s=1.0, MISSIONS_MAX_OWNERS="100") as drilled:
        acks = Acks()
        await acks.listen(drilled)
        await drilled.say(events)
        claimed = await claims(drilled, events)
        owners = Counter(record.actor for _, record in claimed.values())
        (actor, count), *_ = owners.most_common(1)
        assert count >= FROZEN // 4
        frozen = executor_of(drilled, actor)

        drilled.stack.pause(frozen)
        gate.touch()
        await drilled.until_over(len(events))
        drilled.stack.resume(frozen)
        records = await drilled.verify()

        theirs = {event.id: mission_id(event) for event in events if claimed[event.id][1].actor == actor}
        found = histories(records)
        for name, mission in theirs.items():
            assert found[mission].outcomes[0].actor != actor
            await assert_refused(drilled, *claimed[name])
        await eventually(lambda: lost_and_said_so(drilled, frozen) >= count, WITHIN_S)
        proposals = {stored.seq: stored.subject.rpartition(".")[2] for stored in records[: 2 * len(events)]}
        assert max(acks.sent.values()) == 1
        assert not [seq for seq, delivery in acks.sent if delivery == 1 and proposals[seq] in theirs.values()]
        await assert_fenced(database, found, {claimed[event.id][0] for event in events if event.id in theirs})


async def assert_fenced(database: Path, found: dict[str, History], zombies: set[int]) -> None:
    """Check the effects: one per mission, of the owner that ended it; what the zombies tried then was refused."""

    def rows(table: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(f"SELECT mission_id, fence FROM {table}").fetchall()  # noqa: S608 - of two names

    refused = await eventually(lambda: rows("refused"), WITHIN_S)
    assert {fence for _, fence in refused} <= zombies
    effects = rows("effects")
    assert len(effects) == FROZEN
    assert not zombies & {fence for _, fence in effects}
    owners = {mission: history.outcomes[0].attempt for mission, history in found.items()}
    assert all(owners[mission] > 1 for mission, _ in refused)


async def test_kill_9_of_an_executor_takes_the_processes_of_its_handlers_along(tmp_path: Path) -> None:
    def pids(of: str) -> list[int]:
        return [int(path.read_text() or 0) for path in tmp_path.glob(f"{of}-*")]

    async with drill(tmp_path / "data", lease_s=30) as drilled:
        await drilled.say([ChatEvent(id=f"evt-{n}", text=f"/run linger folder={tmp_path}") for n in range(3)])
        await eventually(lambda: len(pids("program")) == 3 and all(pids("program")), WITHIN_S)
        processes = {*pids("handler"), *pids("program"), *pids("zygote")}
        assert len(processes) == 7
        assert all(is_alive(pid) for pid in processes)
        await asyncio.to_thread(drilled.stack.kill, "executor")
        await eventually(lambda: not [pid for pid in processes if is_alive(pid)])


async def assert_refused(drilled: Drill, seq: int, claim: StatusRecord) -> None:
    """Write the outcome that the first owner would write: on top of its own claim."""
    writer = Writer(await drilled.bus(), topology.MISSIONS)
    with pytest.raises(Lost):
        await writer.write(subjects.status("default", claim.mission_id), b"{}", expected=seq)


def lost_and_said_so(drilled: Drill, executor: str) -> int:
    """Count how often an executor found out that a mission is no longer its own."""
    return drilled.stack.log_file(executor).read_text().count('"ownership_lost"')
