-- What the clients of agents used for a task; that of each start stands in attempts.
ALTER TABLE s2_tasks ADD COLUMN usage TEXT CHECK (usage IS NULL OR json_valid(usage));
