-- What the last holder of a task left for the next one to go on from.
ALTER TABLE s2_tasks ADD COLUMN checkpoint TEXT;
