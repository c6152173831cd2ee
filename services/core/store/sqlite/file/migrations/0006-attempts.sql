-- The starts of a task, the pause before the next one, what happens at its deadline and when it shows no work, and who else may do it.
ALTER TABLE s2_tasks ADD COLUMN other_roles TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(other_roles));
ALTER TABLE s2_tasks ADD COLUMN work INTEGER NOT NULL DEFAULT 0;
ALTER TABLE s2_tasks ADD COLUMN attempts TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(attempts));
ALTER TABLE s2_tasks ADD COLUMN pause TEXT CHECK (pause IS NULL OR json_valid(pause));
ALTER TABLE s2_tasks ADD COLUMN reminded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE s2_tasks ADD COLUMN on_deadline TEXT NOT NULL DEFAULT 'fail' CHECK (on_deadline IN ('fail', 'move'));
ALTER TABLE s2_tasks ADD COLUMN on_stall TEXT CHECK (on_stall IN ('tell', 'move', 'end'));

-- What agents say of their places, one row a session that cannot work now.
CREATE TABLE s2_conditions (
  session TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('probing', 'sick', 'parked')),
  why TEXT NOT NULL,
  until INTEGER,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
