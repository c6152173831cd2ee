-- Beats, foreign heartbeats and verdicts. This file may be deleted: it loses what is said anew within seconds, and by what an
-- earlier state of the message database is known after a start.

CREATE TABLE beats (
  session TEXT PRIMARY KEY,
  host TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  seq INTEGER NOT NULL,
  work INTEGER NOT NULL,
  -- What the agent's client does (JSON); null where its host does not say.
  activity TEXT,
  version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX beats_version ON beats (version);

-- Sessions that two places spoke for at once: the host that speaks, the one that was refused, and how often that was so.
CREATE TABLE contests (
  session TEXT PRIMARY KEY,
  heard TEXT NOT NULL,
  refused TEXT NOT NULL,
  times INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the version given last, what whoever collects beats raises, and what keeps it from writing to the message database (JSON).
CREATE TABLE collecting (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  tick TEXT NOT NULL,
  trouble TEXT
) STRICT;

-- What was last seen, or written by ourselves, in session_status; null where nothing was. What is new there is a sign of a foreign
-- writer.
CREATE TABLE heartbeats (
  session TEXT PRIMARY KEY,
  text TEXT,
  status TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE verdicts (
  agent TEXT PRIMARY KEY,
  verdict TEXT NOT NULL,
  since INTEGER NOT NULL,
  host TEXT,
  why TEXT,
  until INTEGER,
  -- What its client does (JSON); null where nothing is known of one.
  activity TEXT
) STRICT, WITHOUT ROWID;

-- One row: how far the message database had come, as it was last seen.
CREATE TABLE history (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store TEXT NOT NULL,
  message INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT;

-- One row: when verdicts were written last, and by which round of whom.
CREATE TABLE judging (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL,
  round TEXT NOT NULL
) STRICT;
