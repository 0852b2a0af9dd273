"""The hand-written floor: the product's broker hops and journal writes in raw nats-py, and nothing else.

`python benchmarks/floor.py --nats-url URL --missions 20000`; the server must run with `sync_interval: always`.
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nats
import uvloop
from msgspec import Raw, Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError

CHAT, MISSIONS = "FLOOR_CHAT", "FLOOR_MISSIONS"
SUBJECTS = {
    CHAT: ["floor.chat.events", "floor.chat.replies.*.*"],
    MISSIONS: ["floor.proposed.*", "floor.status.*"],
}
CONSUMERS = (
    (CHAT, "orchestrator", "floor.chat.events", AckPolicy.EXPLICIT),
    (MISSIONS, "orchestrator", "floor.status.*", AckPolicy.EXPLICIT),
    (MISSIONS, "executor", "floor.proposed.*", AckPolicy.EXPLICIT),
    (MISSIONS, "whiteboard", None, AckPolicy.NONE),
)
EVENTS_BATCH = 500
RECORDS_BATCH = 1000  # the broker's limit; a batch costs it a staging file and two fsyncs, whatever the size
JOURNAL_BATCH = 5000
SINGLES = 5  # up to here single publishes are faster than a batch
IN_FLIGHT = 4
MAX_ACK_PENDING = 10_000
CREDIT = 5000  # messages the broker may send ahead of us
PENDING_BYTES = 16 * 2**20
ONE_AT_A_TIME = 200
PER_MISSION = 3  # messages in each of the two streams
TIMEOUT_S = 300.0
CONNECT_S = 5.0
RETRY = Raw(b'{"max_attempts":3,"backoff_s":1.0,"backoff_factor":2.0,"max_backoff_s":60.0,"jitter":0.1}')


class Goal(Struct, frozen=True):
    """What the executor reads of a goal."""

    id: str
    kind: str
    params: dict[str, str]


class Heard(Struct, frozen=True):
    """What the roles read of a message: each kind has some of it."""

    id: str = ""
    conversation: str = ""
    sender: str = ""
    text: str = ""
    mission_id: str = ""
    causation_id: str = ""
    goals: tuple[Goal, ...] = ()
    status: str = "proposed"
    result: dict[str, str] | None = None


class PubAck(Struct, frozen=True):
    """The broker's answer to a publish."""

    seq: int = 0
    error: dict[str, str | int] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FloorResult:
    """What the floor reached; the dicts are keyed by role."""

    missions_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: dict[str, float]
    peak_rss_mb: dict[str, float]


Record = tuple[str, bytes, str | None]  # subject, body, expected last sequence of the subject
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Heard).decode
decode_puback = msgspec.json.Decoder(PubAck).decode
batch_ids = itertools.count()


def now() -> str:
    """Say the time as the messages do."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def store(nc: Client, records: Sequence[Record]) -> Sequence[int]:
    """Publish records in one atomic batch (a few: singly) and return their sequences."""
    size = len(records)
    if size <= SINGLES:
        return await asyncio.gather(*(request(nc, record, {}) for record in records))
    batch = f"{os.getpid()}-{next(batch_ids)}"
    for position, (subject, body, expected) in enumerate(records[:-1], 1):
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(position)}
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = expected
        await nc.publish(subject, body, headers=headers)
    commit = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(size), "Nats-Batch-Commit": "1"}
    last = await request(nc, records[-1], commit)
    return range(last - size + 1, last + 1)


async def request(nc: Client, record: Record, headers: dict[str, str]) -> int:
    """Publish one record, wait until it is stored and return its sequence."""
    subject, body, expected = record
    if expected is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = expected
    ack = decode_puback((await nc.request(subject, body, timeout=10, headers=headers or None)).data)
    if ack.error:
        raise RuntimeError(subject, ack.error)
    return ack.seq


class Pull:
    """A pull consumer with standing credit: `fetch` makes a task per message, this a callback."""

    def __init__(self, nc: Client, stream: str, durable: str) -> None:
        self.nc = nc
        self.next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self.inbox = nc.new_inbox()
        self.arrived: list[Msg] = []
        self.ready = asyncio.Event()
        self.credit = 0

    async def open(self) -> None:
        await self.nc.subscribe(self.inbox, cb=self.receive)
        await self.top_up()

    async def top_up(self) -> None:
        await self.nc.publish(self.next, encode({"batch": CREDIT - self.credit}), reply=self.inbox)
        self.credit = CREDIT

    async def receive(self, message: Msg) -> None:
        self.arrived.append(message)
        self.ready.set()

    async def take(self, limit: int) -> list[Msg]:
        """Wait for messages and take what is there."""
        await self.ready.wait()
        taken, self.arrived = self.arrived[:limit], self.arrived[limit:]
        if not self.arrived:
            self.ready.clear()
        self.credit -= len(taken)
        if self.credit < CREDIT // 2:
            await self.top_up()
        return taken


async def pump(nc: Client, stream: str, durable: str, work: Callable[[Client, list[Msg]], Awaitable[None]]) -> None:
    """Hand over what has arrived, a few batches side by side, and acknowledge what was stored."""
    pull, slots = Pull(nc, stream, durable), asyncio.Semaphore(IN_FLIGHT)
    await pull.open()

    async def settle(messages: list[Msg]) -> None:
        await work(nc, messages)
        for message in messages:
            await nc.publish(message.reply, b"+ACK")
        slots.release()

    async with asyncio.TaskGroup() as batches:
        while True:
            await slots.acquire()
            batches.create_task(settle(await pull.take(RECORDS_BATCH)))


async def producer(nc: Client, _: Path) -> None:
    """Publish as many events as the parent orders, and answer when the first one left."""
    orders = await nc.subscribe("floorctl.produce")
    async for order in orders.messages:
        first, count = msgspec.json.decode(order.data, type=tuple[int, int])
        start = time.monotonic()
        await produce(nc, range(first, first + count))
        await order.respond(encode(start))


async def produce(nc: Client, numbers: range) -> None:
    """Store events in batches, a few in flight."""
    at, slots = now(), asyncio.Semaphore(IN_FLIGHT)

    async def publish(part: range) -> None:
        await store(nc, [event(number, at) for number in part])
        slots.release()

    async with asyncio.TaskGroup() as batches:
        for start in range(0, len(numbers), EVENTS_BATCH):
            await slots.acquire()
            batches.create_task(publish(numbers[start : start + EVENTS_BATCH]))


def event(number: int, at: str) -> Record:
    """Make one chat event."""
    body = {"id": f"evt-{number}", "conversation": "ops", "sender": "ann", "text": "/run echo text=hi", "at": at}
    return "floor.chat.events", encode(body), None


async def orchestrator(nc: Client, _: Path) -> None:
    """Turn events into missions, and outcomes into replies."""
    async with asyncio.TaskGroup() as consumers:
        consumers.create_task(pump(nc, CHAT, "orchestrator", propose))
        consumers.create_task(pump(nc, MISSIONS, "orchestrator", tell_outcomes))


async def propose(nc: Client, messages: list[Msg]) -> None:
    """Store the proposals, then say `accepted`."""
    at = now()
    planned = [(mission_id(chat), chat) for chat in (decode(message.data) for message in messages)]
    await store(nc, [(f"floor.proposed.{mid}", proposal(mid, chat, at), "0") for mid, chat in planned])
    await store(nc, [reply(mid, chat.id, "accepted", chat.text, at) for mid, chat in planned])


def mission_id(chat: Heard) -> str:
    """Derive the id, so that one event makes one mission."""
    digest = hashlib.sha256(f"{chat.conversation}/{chat.id}".encode()).digest()
    return base64.b32encode(digest[:20])[:26].decode().lower()


def proposal(mid: str, chat: Heard, at: str) -> bytes:
    """Read `/run kind key=value` and make the mission."""
    _, kind, *pairs = chat.text.split()
    params = dict(pair.split("=", 1) for pair in pairs)
    goal = Raw(encode({"id": "1", "kind": kind, "params": params, "needs": (), "retry": RETRY, "optional": False}))
    who = {"mission_id": mid, "title": chat.text, "conversation": chat.conversation, "requested_by": chat.sender}
    why = {"causation_id": chat.id, "event_id": f"{mid}.0.1", "at": at, "retry_of": None, "schema": 1}
    return encode({**who, "queue": "default", "goals": (goal,), "deadline": None, **why})


async def tell_outcomes(nc: Client, messages: list[Msg]) -> None:
    """Store a `result` reply for each outcome."""
    at = now()
    ended = [record for message in messages if (record := decode(message.data)).status == "completed"]
    await store(nc, [reply(s.mission_id, s.causation_id, "result", f"completed: {s.result}", at) for s in ended])


def reply(mid: str, in_reply_to: str, kind: str, text: str, at: str) -> Record:
    """Make one reply, created once."""
    body = {"mission_id": mid, "in_reply_to": in_reply_to, "kind": kind, "text": f"Mission {mid}: {text}", "at": at}
    return f"floor.chat.replies.{mid}.{kind}", encode(body), "0"


async def executor(nc: Client, _: Path) -> None:
    """Run missions."""
    await pump(nc, MISSIONS, "executor", execute)


async def execute(nc: Client, messages: list[Msg]) -> None:
    """Store `active`, then `completed` on top of it."""
    missions = [decode(message.data) for message in messages]
    at = now()
    claims = await store(nc, [status(mission, "active", "0", at) for mission in missions])
    at = now()
    owned = zip(missions, claims, strict=True)
    await store(nc, [status(mission, "completed", str(seq), at) for mission, seq in owned])


def status(mission: Heard, name: str, expected: str, at: str) -> Record:
    """Make one status record: echo returns its params."""
    mid, goal, done = mission.mission_id, mission.goals[0], name == "completed"
    result = goal.params if done else None
    part = {"id": goal.id, "kind": goal.kind, "status": name, "attempt": 1, "result": result, "error": None}
    what = {"mission_id": mid, "status": name, "core": name, "phase": None, "reason": "succeeded" if done else None}
    how = {"attempt": 1, "goal": part, "result": result, "error": None, "actor": "executor/benchmark-host/12345"}
    why = {"event_id": f"{mid}.1.{1 + done}", "causation_id": mission.causation_id, "at": at, "schema": 1}
    return f"floor.status.{mid}", encode({**what, **how, **why}), expected


async def whiteboard(nc: Client, journal: Path) -> None:
    """Append each batch with one write and one fdatasync, and announce how many missions have completed."""
    pull, lines, total = Pull(nc, MISSIONS, "whiteboard"), Lines(), 0
    fd = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    await pull.open()
    while True:
        messages = await pull.take(JOURNAL_BATCH)
        total += sum(decode(message.data).status == "completed" for message in messages)
        os.write(fd, b"".join(map(lines.line, messages)))
        os.fdatasync(fd)
        await nc.publish("floorctl.journalled", encode((total, time.monotonic())))


class Lines:
    """Journal lines in the product's format: checksummed and chained."""

    def __init__(self) -> None:
        self.crc = 0
        self.second = ("", b"")

    def line(self, message: Msg) -> bytes:
        """Make the line of one record; its sequence and time stand in the reply subject."""
        tokens = message.reply.split(".")
        at = self.time(tokens[7])
        start = b'{"seq":%s,"time":"%s","subject":"%s",' % (tokens[5].encode(), at, message.subject.encode())
        end = b'"prev":"%08x","data":%s}\n' % (self.crc, message.data)
        self.crc = zlib.crc32(end, zlib.crc32(start))
        return b'%s"crc":"%08x",%s' % (start, self.crc, end)

    def time(self, ns: str) -> bytes:
        """Write nanoseconds since the epoch as RFC 3339."""
        if ns[:-9] != self.second[0]:
            self.second = ns[:-9], time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(ns[:-9]))).encode()
        return b"%s.%sZ" % (self.second[1], ns[-9:].encode())


ROLES = {"producer": producer, "orchestrator": orchestrator, "executor": executor, "whiteboard": whiteboard}


async def play(role: str, nats_url: str, journal: Path) -> None:
    """Play one role until the parent ends us or is gone."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, 0)
    nc = await nats.connect(nats_url, pending_size=PENDING_BYTES, skip_subject_validation=True)
    await nc.subscribe(f"floorctl.usage.{role}", cb=tell_usage)
    async with asyncio.timeout(2 * TIMEOUT_S):
        await ROLES[role](nc, journal)


async def tell_usage(message: Msg) -> None:
    """Answer with the CPU seconds and the peak MB of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    await message.respond(encode((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)))


@contextlib.asynccontextmanager
async def processes(nats_url: str, journal: Path) -> AsyncIterator[None]:
    """Run a process per role beside the body: they end with it, and it fails if one ends before."""
    command = (sys.executable, __file__, "--nats-url", nats_url, "--journal", str(journal), "--role")
    async with asyncio.TaskGroup() as group:
        roles = [group.create_task(process(*command, role)) for role in ROLES]
        yield
        for role in roles:
            role.cancel()


async def process(*command: str) -> None:
    """Run one role until cancelled."""
    child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        raise ChildProcessError(f"{command[-1]} ended early with exit code {await child.wait()}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


class Parent:
    """Orders missions from the producer and hears of them from the whiteboard."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.ordered = 0
        self.journalled = (0, 0.0)
        self.progress = asyncio.Event()

    async def open(self) -> None:
        """Wait until every role answers."""
        await self.nc.subscribe("floorctl.journalled", cb=self.hear)
        while True:
            with contextlib.suppress(NoRespondersError):
                await self.usage()
                return
            await asyncio.sleep(0.05)

    async def hear(self, message: Msg) -> None:
        self.journalled = msgspec.json.decode(message.data, type=tuple[int, float])
        self.progress.set()

    async def run(self, missions: int) -> float:
        """Return the seconds from the first publish to the last journalled completion."""
        first, self.ordered = self.ordered, self.ordered + missions
        answer = await self.nc.request("floorctl.produce", encode((first, missions)), timeout=TIMEOUT_S)
        while self.journalled[0] < self.ordered:
            self.progress.clear()
            await self.progress.wait()
        return self.journalled[1] - msgspec.json.decode(answer.data, type=float)

    async def settle(self) -> None:
        """Wait until every record and reply is stored."""
        js = self.nc.jetstream()
        for stream in SUBJECTS:
            while (await js.stream_info(stream)).state.messages < PER_MISSION * self.ordered:
                await asyncio.sleep(0.02)

    async def usage(self) -> dict[str, tuple[float, float]]:
        """Ask every role for its CPU seconds and peak MB."""
        answers = {role: await self.nc.request(f"floorctl.usage.{role}", timeout=5) for role in ROLES}
        return {role: msgspec.json.decode(m.data, type=tuple[float, float]) for role, m in answers.items()}


@contextlib.asynccontextmanager
async def streams(nc: Client) -> AsyncIterator[None]:
    """Create the two streams and their durables; in the end, delete them."""
    js = nc.jetstream()
    await delete_streams(nc)
    for stream, subjects in SUBJECTS.items():
        await js.add_stream(StreamConfig(name=stream, subjects=subjects, allow_atomic=True, num_replicas=1))
    for stream, durable, subject, policy in CONSUMERS:
        pending = MAX_ACK_PENDING if policy is AckPolicy.EXPLICIT else None
        config = ConsumerConfig(durable, filter_subject=subject, ack_policy=policy, max_ack_pending=pending)
        await js.add_consumer(stream, config)
    try:
        yield
    finally:
        await delete_streams(nc)


async def delete_streams(nc: Client) -> None:
    """Delete what this or an earlier run left."""
    for stream in SUBJECTS:
        with contextlib.suppress(NotFoundError):
            await nc.jetstream().delete_stream(stream)


async def measure(parent: Parent, missions: int, warmup: int) -> FloorResult:
    """Warm up, then measure many missions at once, then one at a time."""
    await parent.open()
    await parent.run(warmup)
    await parent.settle()
    before = await parent.usage()
    seconds = await parent.run(missions)
    await parent.settle()
    after = await parent.usage()
    waits = sorted([await parent.run(1) * 1000 for _ in range(ONE_AT_A_TIME)])
    cpu = {role: (after[role][0] - before[role][0]) * 1000 / missions for role in ROLES}
    rss = {role: peak for role, (_, peak) in after.items()}
    return FloorResult(missions / seconds, waits[len(waits) // 2], waits[len(waits) * 99 // 100], cpu, rss)


async def run(nats_url: str, missions: int, warmup: int, journal: Path) -> FloorResult:
    """Play all roles and measure."""
    nc = await asyncio.wait_for(nats.connect(nats_url), CONNECT_S)
    parent = Parent(nc)
    async with asyncio.timeout(TIMEOUT_S), streams(nc), processes(nats_url, journal):
        result = await measure(parent, missions, warmup)
        await parent.settle()
    await nc.close()
    return result


def run_floor(nats_url: str, missions: int, warmup: int, journal_dir: Path | None = None) -> FloorResult:
    """Measure the floor against a running broker; the journal is on the disk of `journal_dir`."""
    with tempfile.TemporaryDirectory(dir=journal_dir) as directory, asyncio.Runner() as runner:
        journal = Path(directory) / "journal.jsonl"
        result = runner.run(run(nats_url, missions, warmup, journal))
        lines = journal.read_bytes().count(b"\n")
    if lines != PER_MISSION * (warmup + missions + ONE_AT_A_TIME):
        raise RuntimeError("the floor lost or repeated records", lines)
    return result


def main() -> None:
    """Run one role, or all of them and print what they reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats-url", default="nats://127.0.0.1:4222")
    parser.add_argument("--missions", type=int, default=20_000)
    parser.add_argument("--warmup", type=int, default=2_000)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--journal", type=Path, help="where the journal goes (default: a temporary directory)")
    args = parser.parse_args()
    if args.role:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(play(args.role, args.nats_url, args.journal))
    else:
        show(run_floor(args.nats_url, args.missions, args.warmup, args.journal))


def show(result: FloorResult) -> None:
    """Print the figures."""
    one = f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    print(f"{result.missions_per_s:,.0f} missions/s; one at a time {one}")
    for role in ROLES:
        cpu, rss = result.cpu_s_per_1000[role], result.peak_rss_mb[role]
        print(f"{role:<13}{cpu:6.3f} CPU-seconds per 1,000 missions, {rss:4.0f} MB at most")
    print(f"{'all roles':<13}{sum(result.cpu_s_per_1000.values()):6.3f}")


if __name__ == "__main__":
    main()
