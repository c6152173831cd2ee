-- What conversations call tasks, where that is not the id, or not the id alone.
CREATE TABLE s2_task_names (
  conversation TEXT NOT NULL,
  name TEXT NOT NULL,
  task TEXT NOT NULL,
  PRIMARY KEY (name, conversation, task)
) STRICT, WITHOUT ROWID;

CREATE INDEX s2_task_names_task ON s2_task_names (task);

-- The epoch in which each held the task last: a report that names none is of that one.
ALTER TABLE s2_task_holders ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;

UPDATE s2_task_holders SET epoch = coalesce(
  (SELECT epoch FROM s2_tasks WHERE s2_tasks.id = s2_task_holders.task AND s2_tasks.holder = s2_task_holders.holder), 1);
