"""The tables of the index, as text."""

from __future__ import annotations

#: Raise it with every change below: an index of another version is rebuilt from the journal.
VERSION = 1

#: `missions` is narrow, so that filters read little; `first_seq`, the proposal's sequence, orders every list.
TABLES = """
CREATE TABLE missions (
    first_seq INTEGER PRIMARY KEY, mission_id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, status TEXT NOT NULL,
    core TEXT NOT NULL, queue TEXT NOT NULL, conversation TEXT NOT NULL, proposed_at TEXT NOT NULL
);
CREATE INDEX by_status ON missions (status, first_seq);
CREATE INDEX by_queue ON missions (queue, first_seq);
CREATE INDEX by_conversation ON missions (conversation, first_seq);
CREATE INDEX by_time ON missions (proposed_at);
CREATE TABLE views (first_seq INTEGER PRIMARY KEY, view TEXT NOT NULL);
CREATE TABLE kinds (kind TEXT NOT NULL, first_seq INTEGER NOT NULL, PRIMARY KEY (kind, first_seq)) WITHOUT ROWID;
CREATE TABLE records (
    first_seq INTEGER NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (first_seq, seq)
) WITHOUT ROWID;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1), last_seq INTEGER NOT NULL, last_hash TEXT NOT NULL,
    illegal INTEGER NOT NULL, unreadable INTEGER NOT NULL, gaps INTEGER NOT NULL, forks INTEGER NOT NULL
);
"""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -16000",
)

INSERT_MISSION = "INSERT INTO missions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
UPDATE_MISSION = "UPDATE missions SET seq = ?, status = ?, core = ? WHERE first_seq = ?"
INSERT_VIEW = "INSERT INTO views VALUES (?, ?)"
UPDATE_VIEW = "UPDATE views SET view = ? WHERE first_seq = ?"
INSERT_KIND = "INSERT OR IGNORE INTO kinds VALUES (?, ?)"
INSERT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
REPLACE_HEAD = "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?)"
SELECT_HEAD = "SELECT last_seq, last_hash, illegal, unreadable, gaps, forks FROM head"
COUNT_STATUSES = "SELECT status, count(*) FROM missions GROUP BY status"
SELECT_VIEWS = "SELECT view FROM missions JOIN views USING (first_seq) WHERE mission_id IN ({})"
