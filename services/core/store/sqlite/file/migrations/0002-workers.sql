-- Workers that are known by their keys. `serial` is the credential that each shall have, `published` the one that was published
-- last, `file` its sealed text: safe to show to anybody. `refusal` says why its host does not take that.

CREATE TABLE s2_workers (
  agent TEXT PRIMARY KEY CHECK (length(agent) BETWEEN 1 AND 48),
  role TEXT NOT NULL,
  conversation TEXT UNIQUE,
  key TEXT UNIQUE,
  recipient TEXT,
  host TEXT,
  serial INTEGER NOT NULL CHECK (serial >= 0),
  published INTEGER NOT NULL CHECK (published >= 0),
  file TEXT,
  invited_until INTEGER,
  joined_at INTEGER,
  revoked_at INTEGER,
  refusal TEXT
) STRICT, WITHOUT ROWID;

-- Only the hash of a secret is kept, and who used it.
CREATE TABLE s2_invitations (
  secret_hash TEXT PRIMARY KEY,
  agent TEXT NOT NULL,
  role TEXT NOT NULL,
  ends_at INTEGER NOT NULL,
  used_by TEXT
) STRICT, WITHOUT ROWID;

-- Requests to join, sealed to the orchestrator; settled ones stay for a day, so that their hosts learn what became of them.
CREATE TABLE s2_join_requests (
  id TEXT PRIMARY KEY CHECK (length(id) = 64),
  sealed TEXT,
  at INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'admitted', 'refused')),
  why TEXT
) STRICT, WITHOUT ROWID;
