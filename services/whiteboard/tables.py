"""The tables of the index, as text."""

from __future__ import annotations

from contracts.lifecycle import Status

#: Raise it with every change below, and of `words`: an index of another version is rebuilt from the journal.
VERSION = 5

#: Statuses as `records` holds them.
CODES = {status: number for number, status in enumerate(Status)}
STATUS_OF_CODE = dict(enumerate(Status))

#: `first_seq`, the proposal's sequence, orders every list. `span` is set once a mission is over: the number of bits of
#: how many sequences it lived, so that what was under way at some sequence is found without a look at what was not.
#: `search` holds the terms of `words`: every filter. `moments` is the broker's
#: clock, to the tenth of a second: the first sequence of each. `minutes` counts the last two hours. `cut` says where
#: the journal begins, and `carried` how the missions stood there whose first records are gone.
TABLES = """
CREATE TABLE missions (
    first_seq INTEGER PRIMARY KEY, mission_id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, status TEXT NOT NULL,
    queue TEXT NOT NULL, conversation TEXT NOT NULL, span INTEGER
);
CREATE INDEX by_status ON missions (status, first_seq);
CREATE INDEX by_span ON missions (span, first_seq) WHERE span IS NOT NULL;
CREATE TABLE views (first_seq INTEGER PRIMARY KEY, view TEXT NOT NULL);
CREATE VIRTUAL TABLE search USING fts5(
    document, content = '', detail = none, columnsize = 0, tokenize = "ascii tokenchars '_:.-/=^'"
);
INSERT INTO search (search, rank) VALUES ('automerge', 8), ('hashsize', 8388608);
CREATE TABLE records (
    first_seq INTEGER NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL, status INTEGER NOT NULL,
    PRIMARY KEY (first_seq, seq)
) WITHOUT ROWID;
CREATE TABLE moments (tenth TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tallies (
    kind TEXT NOT NULL, status TEXT NOT NULL, missions INTEGER NOT NULL, PRIMARY KEY (kind, status)
) WITHOUT ROWID;
CREATE TABLE minutes (
    minute TEXT NOT NULL, what TEXT NOT NULL, bucket INTEGER NOT NULL, missions INTEGER NOT NULL,
    PRIMARY KEY (minute, what, bucket)
) WITHOUT ROWID;
CREATE TABLE carried (first_seq INTEGER PRIMARY KEY, status INTEGER NOT NULL, view TEXT NOT NULL);
CREATE TABLE cut (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, clock TEXT NOT NULL);
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1), last_seq INTEGER NOT NULL, last_hash TEXT NOT NULL,
    illegal INTEGER NOT NULL, unreadable INTEGER NOT NULL, gaps INTEGER NOT NULL, forks INTEGER NOT NULL,
    clock TEXT NOT NULL
);
"""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 16000",  # 64 MB: a checkpoint syncs, and what is indexed meanwhile waits
    "PRAGMA cache_size = -64000",  # mission ids are random: the index of those of a million takes as much,
)

INSERT_MISSION = "INSERT INTO missions VALUES (?, ?, ?, ?, ?, ?, ?)"
UPDATE_MISSION = "UPDATE missions SET seq = ?, status = ?, span = ? WHERE first_seq = ?"
INSERT_VIEW = "INSERT INTO views VALUES (?, ?)"
UPDATE_VIEW = "UPDATE views SET view = ? WHERE first_seq = ?"
#: 'delete' takes terms away from a mission, NULL gives it some.
CHANGE_TERMS = "INSERT INTO search (search, rowid, document) VALUES (?, ?, ?)"
INSERT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)"
INSERT_MOMENT = "INSERT OR IGNORE INTO moments VALUES (?, ?)"
ADD_TALLY = "INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET missions = missions + excluded.missions"
ADD_MINUTE = "INSERT INTO minutes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET missions = missions + excluded.missions"
FORGET_MINUTES = "DELETE FROM minutes WHERE minute < ?"
INSERT_CARRIED = "INSERT INTO carried VALUES (?, ?, ?)"
REPLACE_CUT = "INSERT OR REPLACE INTO cut VALUES (1, ?, ?)"
REPLACE_HEAD = "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?, ?)"
SELECT_HEAD = "SELECT last_seq, last_hash, illegal, unreadable, gaps, forks, clock FROM head"
COUNT_STATUSES = "SELECT status, count(*) FROM missions GROUP BY status"
SELECT_VIEWS = "SELECT view FROM missions JOIN views USING (first_seq) WHERE mission_id IN ({})"
