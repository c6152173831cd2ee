-- All who hold or held a task: only their late reports are kept, and for anybody else the task does not exist.
CREATE TABLE s2_task_holders (
  task TEXT NOT NULL,
  holder TEXT NOT NULL,
  PRIMARY KEY (task, holder)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO s2_task_holders (task, holder) SELECT id, holder FROM s2_tasks WHERE holder IS NOT NULL;
INSERT OR IGNORE INTO s2_task_holders (task, holder)
  SELECT id, original_assignee FROM s2_tasks WHERE original_assignee IS NOT NULL;
