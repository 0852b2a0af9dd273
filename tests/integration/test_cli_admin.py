"""`missions setup` and `missions doctor` against a real broker."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from contracts import topology
from missions import Client
from services.runtime.bus import Bus
from tests.support.broker import connected
from tests.support.eventually import eventually
from tests.support.whole import Command, whole


async def test_setup_makes_what_is_missing_and_then_has_nothing_to_do(nats_url: str) -> None:
    missions = Command(nats_url)

    before = await missions("setup", "--check")
    made = await missions("setup", "--json")
    after = await missions("setup", "--check")

    assert before.exit_code == 78
    assert "stream MISSIONS is missing" in before.out
    assert before.err == "11 differences. Run: missions setup\n"
    assert made.exit_code == 0
    assert len(made.json["done"]) == len(topology.STREAMS) + len(topology.consumers(("default",)))
    assert (after.exit_code, after.out) == (0, "")


async def test_setup_shows_drift_and_mends_it_when_told_to(nats_url: str) -> None:
    missions = Command(nats_url)
    async with connected(nats_url) as broker:
        config = (await broker.bus.api("STREAM.INFO.MISSIONS"))["config"]
        await broker.bus.api("STREAM.UPDATE.MISSIONS", {**config, "discard": "old"})

    plain = await missions("setup", "--lease", "2")
    mended = await missions("setup", "--update", "--lease", "2")

    assert plain.exit_code == 78
    assert plain.out == "stream MISSIONS: discard is 'old', needed 'new'\n"
    assert plain.err == "1 differences. Run: missions setup --update\n"
    assert (mended.exit_code, mended.out) == (0, "stream MISSIONS: discard updated\n")
    assert (await missions("setup", "--check", "--lease", "2")).exit_code == 0


async def test_setup_keeps_the_sizes_that_an_operator_chose(nats_url: str) -> None:
    missions = Command(nats_url)
    async with connected(nats_url) as broker:
        config = (await broker.bus.api("STREAM.INFO.CHAT"))["config"]
        await broker.bus.api("STREAM.UPDATE.CHAT", {**config, "max_bytes": 1_000_000})

        assert (await missions("setup", "--update")).exit_code == 0
        assert (await broker.bus.api("STREAM.INFO.CHAT"))["config"]["max_bytes"] == 1_000_000


async def test_setup_makes_a_consumer_for_every_queue(nats_url: str) -> None:
    made = await Command(nats_url)("setup", "--queues", "default,gpu")

    assert "consumer executor-gpu on MISSIONS: created" in made.out


async def test_the_declaration_is_printed_without_a_broker() -> None:
    printed = await Command("nats://127.0.0.1:1")("setup", "--print", "json")

    assert printed.exit_code == 0
    assert [stream["name"] for stream in printed.json["streams"]] == [stream.name for stream in topology.STREAMS]


async def test_the_doctor_is_content_with_a_whole_deployment(nats_url: str, tmp_path: Path) -> None:
    async with whole(nats_url, tmp_path) as board:
        examined = await Command(nats_url, board.url, data_dir=str(tmp_path), lease_s="2")("doctor", "--json")

    states = {check["name"]: check["state"] for check in examined.json["checks"]}
    assert examined.exit_code == 0, examined.out
    assert examined.json["ok"]
    assert states.pop("sync_always") == "warn"
    assert set(states.values()) == {"ok"}
    sources = {row["name"]: row["source"] for row in examined.json["settings"]}
    assert sources["MISSIONS_DATA_DIR"] == "environment"
    assert sources["MISSIONS_CONCURRENCY"] == "default"


async def test_the_doctor_names_everything_that_is_missing_and_changes_nothing(nats_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    missions = Command(nats_url, data_dir=str(tmp_path / "file" / "data"), queuez="gpu")

    examined = await missions("doctor")

    assert examined.exit_code == 1
    for said in (
        "did you mean MISSIONS_QUEUES?",
        "stream MISSIONS is missing -> missions setup",
        "does not answer -> Start one: missions up",
        "/file is no folder that can be written to",
        "unverified -> name the monitor port",
    ):
        assert said in examined.out
    assert (await Command(nats_url)("setup", "--check")).err == "11 differences. Run: missions setup\n"


async def test_the_doctor_tells_who_does_not_read(nats_url: str) -> None:
    async with connected(nats_url):
        examined = await Command(nats_url)("doctor")

    assert "nobody reads; 0 to read, 0 under way -> missions orchestrator" in examined.out
    assert "nobody reads; 0 to read, 0 under way -> missions executor --queues default" in examined.out


async def test_the_doctor_sees_dead_letters_and_queues_that_nobody_serves(nats_url: str, tmp_path: Path) -> None:
    missions = Command(nats_url, data_dir=str(tmp_path))
    async with whole(nats_url, tmp_path) as board, Client(nats_url) as client:
        bus = await client.bus()
        await missions("setup", "--queues", "default,asleep")
        for queue in ("gpu", "asleep"):
            await client.say("/run echo text=hi", queue=queue)
        await bus.publish_acked("chat.events", b'{"text": 7}')
        await eventually(partial(has, bus, topology.DEADLETTERS, 1))
        await eventually(partial(has, bus, topology.MISSIONS, 2))
        examined = await Command(nats_url, board.url, data_dir=str(tmp_path), lease_s="2")("doctor", "--json")

    found = {check["name"]: check for check in examined.json["checks"]}
    assert found["dead letters"]["state"] == "warn"
    assert "1; the last, from chat.events, on deadletters.orchestrator: " in found["dead letters"]["detail"]
    assert found["dead letters"]["hint"] == "look at them: missions deadletters"
    assert found["MISSIONS/executor-asleep"]["detail"] == "nobody reads; 1 to read, 0 under way"
    assert found["queue gpu"]["detail"] == "no executor ever served it; 1 missions wait there"
    assert examined.exit_code == 1


async def has(bus: Bus, stream: str, count: int) -> bool:
    """Whether a stream holds so many messages."""
    return (await bus.stream_state(stream)).messages == count


async def test_the_doctor_shows_no_password() -> None:
    examined = await Command("nats://ann:s3cret@127.0.0.1:1", connect_s="0.2")("doctor")

    assert examined.exit_code == 1
    assert "NATS is not reachable at nats://127.0.0.1:1" in examined.out
    assert "s3cret" not in examined.out + examined.err


async def test_the_doctor_stores_nothing_at_the_door(nats_url: str) -> None:
    async with connected(nats_url) as broker:
        before = await broker.bus.stream_state(topology.CHAT)
        examined = await Command(nats_url)("doctor")

        assert "may publish chat.events.*" in examined.out
        assert (await broker.bus.stream_state(topology.CHAT)).last_seq == before.last_seq
