-- The Python bridge's tables, for a database that it has not made yet. Where it has, they stay as they are.

CREATE TABLE IF NOT EXISTS conversations (
  id TEXT PRIMARY KEY,
  session_a_role TEXT NOT NULL,
  session_b_role TEXT NOT NULL,
  session_a_token TEXT NOT NULL,
  session_b_token TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation_id TEXT NOT NULL,
  from_session TEXT NOT NULL,
  to_session TEXT NOT NULL,
  message TEXT NOT NULL,
  metadata TEXT,
  timestamp TEXT NOT NULL,
  read INTEGER DEFAULT 0
);

CREATE TABLE IF NOT EXISTS session_status (
  conversation_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  status TEXT NOT NULL,
  last_heartbeat TEXT NOT NULL,
  PRIMARY KEY (conversation_id, session_id)
);

-- That bridge writes entries here that belong to no session.
CREATE TABLE IF NOT EXISTS audit_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation_id TEXT,
  session_id TEXT,
  action TEXT NOT NULL,
  details TEXT,
  timestamp TEXT NOT NULL
);

-- Ours. Times are milliseconds since 1970, UTC. Sessions are written `conversation/side`.

CREATE TABLE s2_migrations (
  version INTEGER PRIMARY KEY CHECK (version > 0),
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE s2_secrets (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  token_key BLOB NOT NULL CHECK (length(token_key) = 32)
) STRICT;

-- How far readers of this database have come in it.
CREATE TABLE s2_cursors (
  name TEXT PRIMARY KEY,
  at INTEGER NOT NULL CHECK (at >= 0)
) STRICT, WITHOUT ROWID;

-- What a conversation is to S2, beside the row that the Python bridge reads. Foreign ones have none.
-- `version` rises with every change of any of them, so that a reader need not read all of them again.
CREATE TABLE s2_conversations (
  id TEXT PRIMARY KEY,
  agent_a TEXT NOT NULL,
  agent_b TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX s2_conversations_version ON s2_conversations (version);

-- Tokens that were replaced, in force until their overlap ends.
CREATE TABLE s2_former_tokens (
  session TEXT PRIMARY KEY,
  token TEXT NOT NULL,
  ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every send by its sender's key, for ever: a repetition that comes after months is still one.
CREATE TABLE s2_sends (
  sender TEXT NOT NULL,
  key TEXT NOT NULL CHECK (key <> ''),
  draft BLOB NOT NULL CHECK (length(draft) = 32),
  message INTEGER NOT NULL CHECK (message > 0),
  PRIMARY KEY (sender, key)
) STRICT, WITHOUT ROWID;

-- How far a message has come that is not acked yet. Acked is `messages.read = 1`, as the Python bridge sets it too.
CREATE TABLE s2_deliveries (
  message INTEGER PRIMARY KEY CHECK (message > 0),
  state TEXT NOT NULL CHECK (state IN ('delivered', 'leased'))
) STRICT;

-- The way to what a reader has not acked. It is an index beside the table: the table itself is as it was.
CREATE INDEX s2_messages_unread ON messages (conversation_id, to_session, id) WHERE read = 0;

CREATE TABLE s2_tasks (
  id TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
  description TEXT NOT NULL CHECK (description <> ''),
  priority TEXT NOT NULL CHECK (priority IN ('P0', 'P1', 'P2', 'P3')),
  role TEXT,
  state TEXT NOT NULL
    CHECK (state IN ('pending', 'assigned', 'accepted', 'in_progress', 'completed', 'failed', 'cancelled')),
  epoch INTEGER NOT NULL CHECK (epoch >= 0),
  holder TEXT,
  original_assignee TEXT,
  incarnation TEXT,
  lease_seq INTEGER NOT NULL CHECK (lease_seq >= 0),
  moves INTEGER NOT NULL CHECK (moves >= 0),
  progress TEXT,
  result TEXT CHECK (result IS NULL OR json_valid(result)),
  deadline INTEGER,
  created_by TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (state <> 'pending' OR holder IS NULL)
) STRICT;

CREATE INDEX s2_tasks_open ON s2_tasks (holder) WHERE state IN ('pending', 'assigned', 'accepted', 'in_progress');

CREATE TABLE s2_evidence (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task TEXT NOT NULL,
  holder TEXT NOT NULL,
  report TEXT NOT NULL CHECK (json_valid(report)),
  at INTEGER NOT NULL
) STRICT;

CREATE INDEX s2_evidence_task ON s2_evidence (task, id);

-- Messages about tasks that were taken in by the verb that wrote them: who looks for foreign ones passes them over.
CREATE TABLE s2_letters (
  message INTEGER PRIMARY KEY CHECK (message > 0)
) STRICT;

CREATE TABLE s2_incidents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cause TEXT NOT NULL,
  kind TEXT NOT NULL,
  agent TEXT,
  summary TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER
) STRICT;

CREATE UNIQUE INDEX s2_incidents_open ON s2_incidents (cause) WHERE closed_at IS NULL;

CREATE TABLE s2_alerts (
  incident INTEGER NOT NULL,
  event TEXT NOT NULL CHECK (event IN ('opened', 'closed')),
  channel TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  due_at INTEGER NOT NULL,
  PRIMARY KEY (incident, event, channel)
) STRICT, WITHOUT ROWID;

-- The chain of all acts: each hash covers its entry and the hash before it.
CREATE TABLE s2_audit (
  seq INTEGER PRIMARY KEY CHECK (seq > 0),
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  details TEXT NOT NULL CHECK (json_valid(details)),
  hash TEXT NOT NULL CHECK (length(hash) = 64)
) STRICT;
