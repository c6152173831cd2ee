-- Messages that were sent with one key to several readers: all but the first, which is in s2_sends.
CREATE TABLE s2_posts (
  first INTEGER NOT NULL CHECK (first > 0),
  message INTEGER NOT NULL CHECK (message > 0),
  PRIMARY KEY (first, message)
) STRICT, WITHOUT ROWID;

-- When a message came how far, to whom it is leased, how often it was, and why it is a dead letter. A row without any of it is
-- of an earlier version. The row stays until its message goes, so that a sender can ask what became of it.
ALTER TABLE s2_deliveries ADD COLUMN delivered_at INTEGER;
ALTER TABLE s2_deliveries ADD COLUMN leased_at INTEGER;
ALTER TABLE s2_deliveries ADD COLUMN leased_by TEXT;
ALTER TABLE s2_deliveries ADD COLUMN leased_until INTEGER;
ALTER TABLE s2_deliveries ADD COLUMN leases INTEGER NOT NULL DEFAULT 0 CHECK (leases >= 0);
ALTER TABLE s2_deliveries ADD COLUMN acked_at INTEGER;
ALTER TABLE s2_deliveries ADD COLUMN dead_at INTEGER;
ALTER TABLE s2_deliveries ADD COLUMN dead_why TEXT CHECK (dead_at IS NULL OR dead_why IS NOT NULL);
-- The message that took a dead letter's place; 0 where it was dropped.
ALTER TABLE s2_deliveries ADD COLUMN settled_as INTEGER CHECK (settled_as IS NULL OR dead_at IS NOT NULL);

CREATE INDEX s2_deliveries_dead ON s2_deliveries (message) WHERE dead_at IS NOT NULL;
