-- What is over and why, and how often people were told again that it is not.
ALTER TABLE s2_incidents ADD COLUMN outcome TEXT;
ALTER TABLE s2_incidents ADD COLUMN retold INTEGER NOT NULL DEFAULT 0 CHECK (retold >= 0);

CREATE INDEX s2_incidents_cause ON s2_incidents (cause);

-- `set_at` is when `due_at` was set: where the clock shows an earlier time, it was put back since.
ALTER TABLE s2_alerts RENAME TO s2_former_alerts;

CREATE TABLE s2_alerts (
  incident INTEGER NOT NULL,
  event TEXT NOT NULL CHECK (event IN ('opened', 'lasting', 'closed')),
  channel TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  set_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  PRIMARY KEY (incident, event, channel)
) STRICT, WITHOUT ROWID;

INSERT INTO s2_alerts (incident, event, channel, attempts, set_at, due_at)
  SELECT incident, event, channel, attempts, due_at, due_at FROM s2_former_alerts;

DROP TABLE s2_former_alerts;
