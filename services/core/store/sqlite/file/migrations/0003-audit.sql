-- What was done to what, how it ended, how long it took and for which request. Entries of before are of version 1, whose hash
-- does not cover these.
ALTER TABLE s2_audit ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version IN (1, 2));
ALTER TABLE s2_audit ADD COLUMN what TEXT;
ALTER TABLE s2_audit ADD COLUMN result TEXT NOT NULL DEFAULT 'done';
ALTER TABLE s2_audit ADD COLUMN latency REAL;
ALTER TABLE s2_audit ADD COLUMN request TEXT;

-- Files that hold what was removed here because it was old; `digest` is the SHA-256 of their lines.
CREATE TABLE s2_segments (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('audit', 'messages')),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL CHECK (last >= first),
  hash TEXT NOT NULL,
  digest TEXT NOT NULL CHECK (length(digest) = 64),
  file TEXT NOT NULL,
  sealed_at INTEGER NOT NULL
) STRICT;

-- Sends whose message was removed because it was old, in 32 bytes: a repetition of one is still a repetition. `print` begins
-- with what stands for the conversation, so that those of a conversation that ended can be removed together.
CREATE TABLE s2_old_sends (
  print BLOB PRIMARY KEY CHECK (length(print) = 24),
  draft BLOB NOT NULL CHECK (length(draft) = 8),
  message INTEGER NOT NULL CHECK (message > 0)
) STRICT, WITHOUT ROWID;
