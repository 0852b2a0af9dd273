"""Checks of what must be true of every history, whatever was killed while it was made.

Each takes what the broker, the journal or the whiteboard holds, and raises `AssertionError` naming the mission and what
is wrong with it. `Stored` messages are those of a stream, from its first on.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts import codec, ids, subjects
from contracts.errors import ContractError
from contracts.ids import mission_id as mission_id_of
from contracts.lifecycle import CORE, TERMINAL, Status, advance
from contracts.messages import JournalRecord, Mission, Reply, StatusRecord
from missions.journal_lines import read
from services.runtime.incoming import Stored, rfc3339

_ORCHESTRATOR = "orchestrator"
_ANSWERED = (Status.WAITING, "answered")
_decode_line = msgspec.json.Decoder(JournalRecord).decode


@dataclass
class History:
    """The records of one mission, in stream order."""

    mission_id: str
    proposals: list[Mission] = field(default_factory=list)
    statuses: list[StatusRecord] = field(default_factory=list)
    order: list[Status] = field(default_factory=list)  #: of all records, proposals too
    last_seq: int = 0

    @property
    def outcomes(self) -> list[StatusRecord]:
        """The terminal records."""
        return [record for record in self.statuses if record.status in TERMINAL]

    def __str__(self) -> str:
        """Tell the history in one line."""
        steps = (f"{record.status}/{record.phase} {record.event_id} by {record.actor}" for record in self.statuses)
        return f"mission {self.mission_id}: {len(self.proposals)} proposals; {'; '.join(steps)}"


def histories(records: Iterable[Stored]) -> dict[str, History]:
    """Sort the messages of MISSIONS by mission; one that cannot be read, or names another mission, is an error."""
    found: dict[str, History] = {}
    for stored in records:
        place = subjects.parse_record(stored.subject)
        history = found.setdefault(place.mission_id, History(place.mission_id))
        history.last_seq = stored.seq
        if subjects.is_proposal(stored.subject):
            proposal = codec.decode_mission(stored.data)
            assert proposal.queue == place.queue, f"{stored.subject} holds a proposal for {proposal.queue}"
            history.proposals.append(proposal)
            history.order.append(Status.PROPOSED)
        else:
            record = codec.decode_status(stored.data)
            history.statuses.append(record)
            history.order.append(record.status)
        named = (history.proposals or history.statuses)[-1].mission_id
        assert named == place.mission_id, f"{stored.subject} holds a record of mission {named}"
    return found


def assert_legal_history(records: Iterable[Stored]) -> None:
    """Check every history against the table of transitions, and that no owner wrote after the next one began."""
    for history in histories(records).values():
        status: Status | None = None
        for following in history.order:
            if following is Status.PROPOSED and status is not None and status not in TERMINAL:
                continue  # a work item that is published again, after an answer
            try:
                status = advance(status, following)
            except ContractError as error:
                raise AssertionError(f"{error}: {history}") from error
        _assert_owners(history)
        event_ids = Counter(record.event_id for record in history.statuses)
        assert max(event_ids.values(), default=1) == 1, f"an event id stands twice: {history}"


def _assert_owners(history: History) -> None:
    """Attempts count up one by one, each begins with `active`, and each has one owner."""
    attempt = 0
    owner: dict[int, str] = {}
    for record in history.statuses:
        assert record.core == CORE[record.status], f"core {record.core}: {history}"
        begins = record.attempt == attempt + 1 and record.status is Status.ACTIVE
        assert record.attempt == attempt or begins, f"attempt {record.attempt} after {attempt}: {history}"
        attempt = record.attempt
        if record.status is Status.ACTIVE and record.actor != _ORCHESTRATOR:
            assert owner.setdefault(attempt, record.actor) == record.actor, f"two owners of an attempt: {history}"


def assert_no_work_after_fence(effects: Iterable[tuple[str, int]]) -> None:
    """Check that no former owner did anything after the next one had begun.

    `effects` are what handlers did, in the order in which it took effect, as (what it was done to, `ctx.fence`): rows
    of your own database, lines of a file. For each thing the fences may only rise.
    """
    highest: dict[str, int] = {}
    for number, (thing, fence) in enumerate(effects, 1):
        known = highest.get(thing, 0)
        assert fence >= known, f"effect {number}, on {thing}: fence {fence} after {known}, so its owner was fenced"
        highest[thing] = fence


def assert_one_outcome(records: Iterable[Stored]) -> None:
    """Check that every mission has ended: one terminal record, with its reason, and nothing after it."""
    for history in histories(records).values():
        assert len(history.outcomes) == 1, f"{len(history.outcomes)} outcomes: {history}"
        assert history.statuses[-1].status in TERMINAL, f"a record after the outcome: {history}"
        assert history.outcomes[0].reason, f"an outcome without a reason: {history}"


def assert_one_mission_per_event(events: Iterable[tuple[str, str]], records: Iterable[Stored]) -> None:
    """Check that exactly these chat events, as (conversation, id), have become missions, each in one proposal."""
    found = histories(records)
    expected = {mission_id_of(conversation, event_id): event_id for conversation, event_id in events}
    lost, invented = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not lost, f"chat events without a mission: {sorted(expected[name] for name in lost)}"
    assert not invented, f"missions that nobody asked for: {sorted(invented)}"
    for name, history in found.items():
        _assert_proposals(history)
        assert history.proposals[0].causation_id == expected[name], f"another chat event: {history}"


def _assert_proposals(history: History) -> None:
    """Check that after the first proposal each further one is the same again, once for an answer that let it go on.

    One that the sweep put back may be for the same answer as the one that was lost.
    """
    first, *again = history.proposals
    assert not first.after, f"the first proposal comes after {first.after}: {history}"
    answers = {record.event_id for record in history.statuses if (record.status, record.phase) == _ANSWERED}
    afters = [proposal.after for proposal in again if not ids.is_sweep_id(proposal.event_id)]
    assert len(set(afters)) == len(afters), f"proposed twice after the same record: {history}"
    assert set(afters) <= answers, f"proposed again after no answer: {history}"
    for proposal in again:
        same = replace(proposal, after="", event_id=first.event_id, at=first.at)
        assert same == first, f"proposed again as another mission: {history}"


def assert_one_reply_of_each_kind(replies: Iterable[Stored], records: Iterable[Stored]) -> None:
    """Check that every mission was accepted once, if it had goals, and told once how it ended, where it was asked."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    found = histories(records)
    for stored in replies:
        reply = codec.decode_reply(stored.data)
        said[reply.mission_id][reply.kind] += 1
        assert reply.mission_id in found, f"a reply about an unknown mission: {stored.subject}"
        _assert_reply(stored, reply, found[reply.mission_id].proposals[0])
    for name, history in found.items():
        kind = "result" if history.statuses[-1].status is Status.COMPLETED else "error"
        expected = {kind: 1} | ({"accepted": 1} if history.proposals[0].goals else {})
        once = {kind: count for kind, count in said[name].items() if kind not in {"progress", "question"}}
        assert once == expected, f"replies {once}, expected {expected}: {history}"


def _assert_reply(stored: Stored, reply: Reply, proposal: Mission) -> None:
    expected = subjects.reply(proposal.conversation, proposal.mission_id, reply.kind)
    assert stored.subject == expected, f"{reply.kind} stands on {stored.subject}, expected {expected}"
    assert reply.in_reply_to == proposal.causation_id, f"{stored.subject} answers {reply.in_reply_to}"


def assert_journal_equals_stream(journal: Path, records: Sequence[Stored]) -> None:
    """Check that the journal in a folder is the stream: each message once, in order, `data` byte for byte."""
    lines = list(journal_lines(journal))
    for number, (line, stored) in enumerate(zip(lines, records, strict=False)):
        written = (line.seq, line.subject, line.time, journalled_data(line))
        published = (stored.seq, stored.subject, rfc3339(stored.time_ns), stored.data)
        assert written == published, f"line {number + 1} of the journal is {written}, the stream has {published}"
    assert len(lines) == len(records), f"the journal has {len(lines)} records, the stream {len(records)}"


def journal_lines(folder: Path) -> Iterator[JournalRecord]:
    """Yield the lines of a journal's files, oldest first; one that cannot be read is an error."""
    yield from map(_decode_line, read(folder))


def journalled_data(line: JournalRecord) -> bytes:
    """Return the message that a line of the journal holds."""
    data = bytes(line.data)
    return base64.b64decode(data) if line.encoding == "base64" else data


def assert_views_agree(views: Iterable[Mapping[str, Any]], records: Iterable[Stored]) -> None:
    """Check that what the whiteboard answers about every mission is what its records tell."""
    found = histories(records)
    by_id = {view["mission_id"]: view for view in views}
    assert by_id.keys() == found.keys(), f"missions that differ: {sorted(by_id.keys() ^ found.keys())}"
    for name, history in found.items():
        expected = folded(history)
        shown = {key: by_id[name][key] for key in expected}
        assert shown == expected, f"the whiteboard shows {shown}, the records tell {expected}: {history}"


def folded(history: History) -> dict[str, Any]:
    """Return what the records of a mission tell, as the whiteboard should show it."""
    proposal = history.proposals[0]
    shown: dict[str, Any] = {
        "status": Status.PROPOSED,
        "core": CORE[Status.PROPOSED],
        "title": proposal.title,
        "queue": proposal.queue,
        "conversation": proposal.conversation,
        "seq": history.last_seq,
    }
    if history.statuses:
        last = history.statuses[-1]
        shown |= {"status": last.status, "core": last.core, "phase": last.phase, "reason": last.reason}
        shown |= {"attempt": last.attempt, "result": last.result, "error": msgspec.to_builtins(last.error)}
    return shown
