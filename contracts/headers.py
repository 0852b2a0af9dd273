"""Names of NATS headers: case-sensitive, so they are written once."""

from __future__ import annotations

MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQ = "Nats-Expected-Last-Subject-Sequence"
#: Compares with the last message of this filter instead of the subject published to.
EXPECTED_LAST_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQ = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
SCHEDULER = "Nats-Scheduler"
SCHEDULE = "Nats-Schedule"
SCHEDULE_TARGET = "Nats-Schedule-Target"
TTL = "Nats-TTL"
#: Ours, on dead letters.
DEADLETTER_REASON = "Missions-Reason"
DEADLETTER_SUBJECT = "Missions-Subject"
DEADLETTER_STREAM = "Missions-Stream"
DEADLETTER_SEQ = "Missions-Sequence"
