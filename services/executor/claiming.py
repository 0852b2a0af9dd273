"""The claim: becoming the owner of a mission, or finding out why not."""

from __future__ import annotations

import structlog

from contracts import codec, subjects, topology
from contracts.errors import Lost
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Failure, Mission, StatusRecord
from services.executor import refusing, runner
from services.executor.executor import Executor
from services.executor.ledger import Ledger
from services.executor.ownership import Attempt
from services.executor.runner import Outcome, Plan
from services.runtime.incoming import Incoming, Stored

log = structlog.get_logger()

Claim = tuple[Ledger, Plan]


async def claim(mission: Mission, work: Incoming, executor: Executor) -> Claim | None:
    """Become the owner by compare-and-set; None when there is nothing left to do and the item may go.

    Raises `Lost` when the mission belongs to somebody else, which may be this very process.
    """
    seq = work.seq
    if seq in executor.claiming:  # redelivered while its claim was slow: that claim decides
        raise Lost(subjects.status(mission.queue, mission.mission_id))
    executor.claiming.add(seq)
    try:
        return await _claim(mission, work, executor)
    finally:
        executor.claiming.discard(seq)


async def _claim(mission: Mission, work: Incoming, executor: Executor) -> Claim | None:
    """Claim at once what was never delivered before; look at the head where it was, or where that was too hasty.

    An item that was published again, after an answer, always looks: it is for one head only.
    """
    if mission.after:
        return await _claim_again(mission, work, executor)
    head = None if work.deliveries == 1 else await _head(mission, executor)
    try:
        return await _claim_on(head, mission, work, executor)
    except Lost:
        if head is not None:
            raise
    return await _claim_on(await _head(mission, executor), mission, work, executor)


async def _claim_again(mission: Mission, work: Incoming, executor: Executor) -> Claim | None:
    head = await _head(mission, executor)
    return None if head is None else await _claim_on(head, mission, work, executor)


async def _head(mission: Mission, executor: Executor) -> Stored | None:
    return await executor.bus.head(topology.MISSIONS, subjects.status(mission.queue, mission.mission_id))


async def _claim_on(head: Stored | None, mission: Mission, work: Incoming, executor: Executor) -> Claim | None:
    if head is None:
        return await _claim_first(mission, executor)
    record = codec.decode_status(head.data)
    if record.status in TERMINAL:
        return None
    if record.status is Status.WAITING:
        return await _take_over(record, head.seq, mission, executor) if mission.after == record.event_id else None
    if owned := executor.leases.get(mission.mission_id):
        _adopt(owned, work, head.seq)
        return None
    if await _superseded(mission, work, executor):
        return None
    return await _take_over(record, head.seq, mission, executor)


def _adopt(owned: Attempt, work: Incoming, head: int) -> None:
    """Let an owner of this process answer for the new delivery of its work item; an older item may go.

    Raises `Lost` where the item is that of the owner, who answers for it from now on.
    """
    if work.seq < owned.work.seq:
        return
    if work.seq == owned.work.seq:
        owned.work.reply = work.reply
    owned.interrupt_if_fenced(head)
    raise Lost(work.subject, head_seq=head)


async def _superseded(mission: Mission, work: Incoming, executor: Executor) -> bool:
    """Tell whether the mission was put back into its queue later: its owner works for that item, not for this one."""
    last = await executor.bus.head(topology.MISSIONS, subjects.proposed(mission.queue, mission.mission_id))
    return last is not None and last.seq > work.seq


async def _claim_first(mission: Mission, executor: Executor) -> Claim | None:
    """Claim what nobody has owned, or refuse it with a word."""
    if refusal := refusing.refused(mission, executor.registry):
        await _ledger(mission, executor, attempt=0, head=0, first=1).settle(refusal)
        executor.count(refusal)
        return None
    ledger = _ledger(mission, executor, attempt=1, head=0)
    await ledger.claim()
    return ledger, Plan(mission)


async def _take_over(last: StatusRecord, head: int, mission: Mission, executor: Executor) -> Claim | None:
    """Claim what another owner left behind, dead or waiting: fence it, and go on from its finished goals."""
    stored = await executor.bus.records(topology.MISSIONS, subjects.status(mission.queue, mission.mission_id))
    records = [codec.decode_status(item.data) for item in stored if item.seq <= head]
    lost = runner.owners_lost(records)
    if ending := _end_of_abandoned(last, lost, mission, executor):
        await _ledger(mission, executor, attempt=last.attempt, head=head, first=len(records)).settle(ending)
        executor.count(ending)
        return None
    ledger = _ledger(mission, executor, attempt=last.attempt + 1, head=head)
    phase = runner.RESUMED if last.status is Status.WAITING else runner.RECOVERING
    await ledger.claim(phase)
    log.info("mission_taken_over", phase=phase, mission_id=mission.mission_id, attempt=ledger.attempt, owners_lost=lost)
    return ledger, runner.resume(mission, records)


def _end_of_abandoned(last: StatusRecord, lost: int, mission: Mission, executor: Executor) -> Outcome | None:
    """Return the outcome of a mission that must not run again: asked to stop, poison, or no longer doable."""
    if last.phase == runner.CANCELLING:
        reason = last.reason or runner.USER
        status = Status.FAILED if reason == runner.DEADLINE_EXCEEDED else Status.CANCELLED
        return Outcome(status, reason, error=last.error)
    if lost >= executor.settings.max_owners:
        message = f"{lost} owners ended while they ran it"
        return Outcome(Status.FAILED, runner.POISON, error=Failure(type="Poison", message=message))
    refusal = refusing.refused(mission, executor.registry)
    return Outcome(Status.FAILED, refusal.reason, error=refusal.error) if refusal else None


def _ledger(mission: Mission, executor: Executor, *, attempt: int, head: int, first: int = 0) -> Ledger:
    return Ledger(executor.bus, executor.writer, mission, executor.actor, attempt=attempt, head=head, first=first)
